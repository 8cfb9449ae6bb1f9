"""The kinds of API key: the root key, projects' (`tg-…`, stored hashed), and episodes' and sessions', signed and stored nowhere.

An episode key (`tg-ep-…`) carries its project, its episode and the key that opened it, and proves them with the project's
secret, so opening a million episodes writes no keys. It is valid as long as the key that opened it. A session key
(`tg-se-…`) carries a session's id in the place of the episode's: it stands for one episode after another.
"""

import base64
import hmac
import secrets

import msgspec

EPISODE_PREFIX = "tg-ep-"
SESSION_PREFIX = "tg-se-"
SIGNED_PREFIXES = (EPISODE_PREFIX, SESSION_PREFIX)
PROJECT_PREFIX = "tg-"
MAX_KEY_CHARACTERS = 1024
_SIGNATURE_BYTES = 16


class Claim(msgspec.Struct, frozen=True):
    """The content of a signed key, before its signature is checked."""

    prefix: str  # which kind of key it is
    project: str
    subject: str  # the episode or the session
    opener_id: str  # of the key that opened it
    signature: bytes

    def __repr__(self) -> str:
        return f"Claim({self.prefix!r}, {self.project!r}, {self.subject!r}, {self.opener_id!r})"


def new_project_key() -> str:
    return PROJECT_PREFIX + secrets.token_hex(32)


def repeatable_project_key(secret: str, *, opener_id: str, call: str) -> str:
    """The key that every repeat of a call gets, although only its hash is stored.

    It is derived from the project's secret, which is random and leaves neither the ledger nor the gateway, so a retry key that
    can be guessed tells nobody the result. The caller's own key is part of it: nobody gets a key by repeating another's call.
    So is the call's body: a retry key that is used again much later, with another body, makes another key.
    """
    content = f"project key\0{opener_id}\0{call}".encode()
    return PROJECT_PREFIX + hmac.digest(secret.encode(), content, "sha256").hex()


def project_salt(secret: str) -> str:
    """A name for the project's part of a prefix cache that says nothing about the project."""
    return hmac.digest(secret.encode(), b"prefix cache", "sha256").hex()[:32]


def signed_key(prefix: str, project: str, *, subject: str, opener_id: str, secret: str) -> str:
    """`tg-ep-<base64 of project, episode and opener>.<base64 of the signature>`."""
    claim = f"{project}/{subject}/{opener_id}".encode()
    return f"{prefix}{_encode(claim)}.{_encode(_sign(prefix, claim, secret))}"


def read_signed_key(key: str) -> Claim | None:
    """Parse a key that starts with one of the signed prefixes; None if it is none."""
    prefix = next((known for known in SIGNED_PREFIXES if key.startswith(known)), None)
    if prefix is None or len(key) > MAX_KEY_CHARACTERS:
        return None
    claim, _, signature = key.removeprefix(prefix).partition(".")
    try:
        project, subject, opener_id = _decode(claim).decode().split("/")
        return Claim(prefix, project, subject, opener_id, _decode(signature))
    except ValueError:
        return None


def is_genuine(claim: Claim, secret: str) -> bool:
    content = f"{claim.project}/{claim.subject}/{claim.opener_id}".encode()
    return hmac.compare_digest(_sign(claim.prefix, content, secret), claim.signature)


def _sign(prefix: str, content: bytes, secret: str) -> bytes:
    """The signature of an episode key is of its claim alone; that of any other kind is of its prefix, too."""
    kind = b"" if prefix == EPISODE_PREFIX else prefix.encode()
    return hmac.digest(secret.encode(), kind + content, "sha256")[:_SIGNATURE_BYTES]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
