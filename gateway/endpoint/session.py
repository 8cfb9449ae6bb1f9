"""The key of a session as the key of the episode that the session has now."""

from msgspec.structs import replace

from gateway.access.caller import Caller
from gateway.errors import Gone
from gateway.project_stores import Stores
from rollout.episode.episode_status import EpisodeStatus


async def in_session(caller: Caller, stores: Stores) -> Caller:
    """The caller with its session's episode. Raises Gone if that has ended."""
    assert caller.session is not None, "the key is a session's"
    header = await stores.of(caller.project).session(caller.session)
    if header is None or header.status is not EpisodeStatus.OPEN:
        raise Gone("the session of this key has ended; start the next one with /rl/start_session")
    return replace(caller, episode_id=header.id)
