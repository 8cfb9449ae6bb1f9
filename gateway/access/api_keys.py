"""The three kinds of API key: the root key, projects' (`tg-…`, stored hashed), and episodes' (`tg-ep-…`, signed, stored nowhere).

An episode key carries its project, its episode and the key that opened it, and proves them with the project's secret, so
opening a million episodes writes no keys. It is valid as long as the key that opened it.
"""

import base64
import hmac
import secrets

import msgspec

EPISODE_PREFIX = "tg-ep-"
PROJECT_PREFIX = "tg-"
MAX_KEY_CHARACTERS = 1024
_SIGNATURE_BYTES = 16


class EpisodeClaim(msgspec.Struct, frozen=True):
    """The content of an episode key, before its signature is checked."""

    project: str
    episode_id: str
    opener_id: str  # of the key that opened the episode
    signature: bytes

    def __repr__(self) -> str:
        return f"EpisodeClaim({self.project!r}, {self.episode_id!r}, {self.opener_id!r})"


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


def episode_key(project: str, episode_id: str, opener_id: str, *, secret: str) -> str:
    """`tg-ep-<base64 of project, episode and opener>.<base64 of the signature>`."""
    claim = f"{project}/{episode_id}/{opener_id}".encode()
    return f"{EPISODE_PREFIX}{_encode(claim)}.{_encode(_sign(claim, secret))}"


def read_episode_key(key: str) -> EpisodeClaim | None:
    """Parse an episode key; None if it is not one."""
    if len(key) > MAX_KEY_CHARACTERS:
        return None
    claim, _, signature = key.removeprefix(EPISODE_PREFIX).partition(".")
    try:
        project, episode_id, opener_id = _decode(claim).decode().split("/")
        return EpisodeClaim(project, episode_id, opener_id, _decode(signature))
    except ValueError:
        return None


def is_genuine(claim: EpisodeClaim, secret: str) -> bool:
    content = f"{claim.project}/{claim.episode_id}/{claim.opener_id}".encode()
    return hmac.compare_digest(_sign(content, secret), claim.signature)


def _sign(claim: bytes, secret: str) -> bytes:
    return hmac.digest(secret.encode(), claim, "sha256")[:_SIGNATURE_BYTES]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
