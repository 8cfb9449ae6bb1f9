"""Where a server listens, read from its URL."""

import ssl
from base64 import b64encode
from typing import Self
from urllib.parse import unquote, urlsplit

import msgspec


class Address(msgspec.Struct, frozen=True):
    host: str
    port: int
    is_tls: bool
    authority: str  # host and port as the `host` header has them
    path: str  # before every route; a proxy may serve several engines
    credentials: str  # as `authorization` has them; empty if the URL has none

    @classmethod
    def parse(cls, url: str) -> Self:
        """Raises ValueError for what is no http or https URL."""
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        try:
            port = parts.port or (443 if is_tls else 80)
        except ValueError:
            port = 0
        if parts.scheme not in ("http", "https") or not parts.hostname or not port:
            raise ValueError(f"{url} is no http:// or https:// URL of a server")
        return cls(
            host=parts.hostname,
            port=port,
            is_tls=is_tls,
            authority=parts.netloc.rpartition("@")[2],
            path=parts.path.rstrip("/"),
            credentials=_basic(parts.username, parts.password),
        )

    def tls_context(self) -> ssl.SSLContext | None:
        """With the certificates that the machine trusts, or those of SSL_CERT_FILE."""
        return ssl.create_default_context() if self.is_tls else None


def _basic(user: str | None, password: str | None) -> str:
    if user is None:
        return ""
    pair = f"{unquote(user)}:{unquote(password or '')}"
    return f"Basic {b64encode(pair.encode()).decode()}"
