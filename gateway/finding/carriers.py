"""The carriers with which a caller names an episode: key, path, header and body. Two of them must not name two episodes."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gateway.errors import BadRequest
from gateway.request.identifiers import checked_id


class NamedEpisode(NamedTuple):
    id: str
    carrier: str


def named_episode(
    headers: Mapping[bytes, bytes],
    *,
    key_episode: str | None,
    path_episode: str | None,
    body_episodes: Iterable[str],
) -> NamedEpisode | None:
    """Raises BadRequest if two carriers disagree, or for what is no id."""
    header = headers.get(b"x-turngate-episode", b"").decode("latin-1").strip()
    named = [
        NamedEpisode(id_, carrier)
        for carrier, id_ in (
            ("the episode key", key_episode),
            ("the path", path_episode),
            ("X-Turngate-Episode", header),
            *(("metadata.episode_id", episode) for episode in body_episodes),
        )
        if id_
    ]
    if not named:
        return None
    if len({each.id for each in named}) > 1:
        listed = ", ".join(f"{each.carrier} names {each.id}" for each in named)
        raise BadRequest(f"the call names more than one episode: {listed}", code="episode_conflict")
    return NamedEpisode(checked_id(named[0].id, "episode"), named[0].carrier)
