"""Base URLs that clients are often given: with a slash too many, with `/v1` twice or not at all."""

import re
from urllib.parse import unquote

_ESCAPED_SLASH = re.compile(rb"%2f", re.IGNORECASE)
_SLASHES = re.compile("//+")
_VERSIONS = re.compile("^(/v1)+(?=/v1(/|$))")
_WITHOUT_VERSION = re.compile("^/(chat/completions|completions|responses|messages|models)(/|$)")


def canonical(path: str) -> str:
    """The path as the router knows it.

    //v1/v1/chat/completions/  ->  /v1/chat/completions
    """
    if "//" in path:
        path = _SLASHES.sub("/", path)
    if path.endswith("/") and len(path) > 1:
        path = path[:-1]
    if path.startswith("/v1"):
        return _VERSIONS.sub("", path) if path.startswith("/v1/v1") else path
    return f"/v1{path}" if _WITHOUT_VERSION.match(path) else path


def with_escaped_slashes(path: str, raw_path: bytes) -> str:
    """The path in which an escaped slash still is `%2F`: it belongs to an id, which no slash is part of, and separates nothing.

    /v1/episodes/%2Fep_91  is not  /v1/episodes//ep_91
    """
    if _ESCAPED_SLASH.search(raw_path) is None:
        return path
    return unquote(_ESCAPED_SLASH.sub(b"%252F", raw_path).decode("latin-1"))
