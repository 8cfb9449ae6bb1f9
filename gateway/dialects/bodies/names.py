"""What a body says of where its call belongs: an episode, which is a caller's word, or a session, which is a runtime's."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

# Claude Code's `user_id`, as a JSON object or joined by underscores.
_SESSION = re.compile(r'(?:"session_id"\s*:\s*"|_session_)([A-Za-z0-9\-]{8,64})')


class Names(NamedTuple):
    episodes: tuple[str, ...]
    session: str | None


def names_in(metadata: Mapping[str, Any], session_id: str | None = None) -> Names:
    """From the body's `metadata` and `session_id`. Values of other types than text are ignored, as unknown fields are."""
    episode = _text(metadata, "episode_id")
    session = session_id or _text(metadata, "session_id") or _session_of_user(metadata)
    return Names((episode,) if episode else (), session)


def _session_of_user(fields: Mapping[str, Any]) -> str | None:
    found = _SESSION.search(_text(fields, "user_id") or "")
    return found[1] if found else None


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) else None
