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
    if path_episode == "":
        raise BadRequest(
            "the path names no episode: write its id between /e/ and /v1, or leave out /e/",
            param="episode_id",
            code="invalid_episode_id",
        )
    header = headers.get(b"x-turngate-episode", b"").decode("latin-1").strip()
    given = {"the episode key": key_episode, "the path": path_episode, "X-Turngate-Episode": header}
    given["metadata.episode_id"] = next(iter(body_episodes), None)
    named = {carrier: id_ for carrier, id_ in given.items() if id_}
    if len(set(named.values())) > 1:
        listed = ", ".join(f"{carrier} names {id_}" for carrier, id_ in named.items())
        raise BadRequest(f"the call names more than one episode: {listed}", code="episode_conflict")
    for carrier, id_ in named.items():
        return NamedEpisode(checked_id(id_, "episode"), carrier)
    return None
