"""The three kinds of API key: the admin's, projects' (`tg-…`, stored hashed), and episodes' (`tg-ep-…`, signed, stored nowhere).

An episode key carries its project and its episode and proves them with the project's secret, so opening a million
episodes writes no keys.
"""

import base64
import hmac
import secrets
from typing import NamedTuple

EPISODE_PREFIX = "tg-ep-"
PROJECT_PREFIX = "tg-"
_SIGNATURE_BYTES = 16


class EpisodeClaim(NamedTuple):
    """The content of an episode key, before its signature is checked."""

    project: str
    episode_id: str
    signature: bytes


def new_project_key() -> str:
    return PROJECT_PREFIX + secrets.token_urlsafe(32)


def episode_key(project: str, episode_id: str, secret: str) -> str:
    """`tg-ep-<base64 of project and episode>.<base64 of the signature>`."""
    claim = f"{project}/{episode_id}".encode()
    return f"{EPISODE_PREFIX}{_encode(claim)}.{_encode(_sign(claim, secret))}"


def read_episode_key(key: str) -> EpisodeClaim | None:
    """Parse an episode key; None if it is not one."""
    claim, _, signature = key.removeprefix(EPISODE_PREFIX).partition(".")
    try:
        project, _, episode_id = _decode(claim).decode().partition("/")
        return EpisodeClaim(project, episode_id, _decode(signature))
    except ValueError:
        return None


def is_genuine(claim: EpisodeClaim, secret: str) -> bool:
    expected = _sign(f"{claim.project}/{claim.episode_id}".encode(), secret)
    return hmac.compare_digest(expected, claim.signature)


def _sign(claim: bytes, secret: str) -> bytes:
    return hmac.digest(secret.encode(), claim, "sha256")[:_SIGNATURE_BYTES]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
