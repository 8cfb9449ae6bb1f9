"""The calls of AReaL's agent service, for client scripts that are written against it.

A session is their word for an episode of which an agent knows only the key. The key stays when the next episode starts, so
the agent that holds it is configured once. A session's id is the id of its episode: `GET /v1/episodes/{id}` shows it.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from gateway.access.api_keys import MAX_KEY_CHARACTERS
from gateway.access.caller import Caller
from gateway.api.dependencies import Admin, RetryKey, Rewarder, ServicesDep
from gateway.api.documented_errors import HAS_ENDED, IN_CONFLICT, OF_CALLS_WITH_A_KEY
from gateway.api.requests import RewardValue
from gateway.errors import BadRequest, Conflict, TooMany, Unauthenticated
from gateway.request.episode_address import new_episode_id
from gateway.request.identifiers import TaskId
from gateway.services import Services
from gateway.turn.idempotency import chosen_key, episode_of_key
from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.reward import EpisodeReward, Reward
from rollout.episode.turn import Turn
from rollout.store.store import Store

router = APIRouter(tags=["AReaL's clients"])

REFRESH_SECONDS = 10.0  # after which a refresh whose gateway died no longer refuses others


class SessionBody(BaseModel):
    """Unknown fields are ignored, as its service does."""

    task_id: TaskId = ""
    api_key: str | None = None  # of a session that ends, so that the next one has the same key


class Session(BaseModel):
    session_id: str
    api_key: str


class InteractionReward(BaseModel):
    reward: RewardValue
    interaction_id: str | None = None  # the id of a reply; by default the last one


class Done(BaseModel):
    message: Literal["success"] = "success"


class EndedSession(Done):
    interaction_count: int


class Workers(BaseModel):
    status: Literal["ok"] = "ok"
    workers: int  # engines that answer


def _session_caller(caller: Rewarder) -> Caller:
    if caller.session is None:
        raise Unauthenticated("this key belongs to no session; use one from /rl/start_session")
    return caller


SessionCaller = Annotated[Caller, Depends(_session_caller)]


@router.get("/health")
async def health(services: ServicesDep) -> Workers:
    """Say that the process lives, and how many engines answer."""
    return Workers(workers=sum(engine.is_up for engine in services.pool.snapshot()))


@router.post("/rl/start_session", responses=OF_CALLS_WITH_A_KEY | IN_CONFLICT | HAS_ENDED)
async def start_session(
    body: SessionBody, services: ServicesDep, caller: Admin, retry_key: RetryKey = None
) -> Session:
    """Open an episode and get a key for it. With the key of a session, that session ends and its key has the new episode.

    If the session that ends has turns and no reward, it gets a reward of 0.
    """
    episode_id = _episode_of(retry_key, caller) or new_episode_id()
    known = await _known_session(body.api_key, services, caller)
    if known is None or known.session is None:
        name = episode_id.removeprefix("ep_")
        key = await services.authenticator.session_key(caller, name)
        return await _opened(
            episode_id, name=name, key=key, body=body, services=services, owner=caller
        )
    assert body.api_key is not None, "it is the key of a known session"
    store = services.stores.of(caller.project)
    lock = store.lock(f"session {known.session}", lease_seconds=REFRESH_SECONDS)
    async with lock as is_free:
        if not is_free:
            raise TooMany(
                "another call refreshes the session of this key; repeat this one",
                code="refresh_under_way",
            )
        return await _opened(
            episode_id,
            name=known.session,
            key=body.api_key,
            body=body,
            services=services,
            owner=known,
        )


@router.post("/rl/set_reward", responses=OF_CALLS_WITH_A_KEY | IN_CONFLICT | HAS_ENDED)
async def set_reward(body: InteractionReward, services: ServicesDep, caller: SessionCaller) -> Done:
    """Reward a reply of the session; a new value for the same reply amends the old one."""
    store, episode_id = services.stores.of(caller.project), caller.episode_id
    assert episode_id is not None, "the caller is in a session"
    turn_id = await _turn_id(
        body.interaction_id, services=services, store=store, episode_id=episode_id
    )
    await store.rewards([EpisodeReward(episode_id, Reward(body.reward, turn_id=turn_id))])
    return Done()


@router.post("/rl/end_session", responses=OF_CALLS_WITH_A_KEY | IN_CONFLICT | HAS_ENDED)
async def end_session(services: ServicesDep, caller: SessionCaller) -> EndedSession:
    """End the session. Its key is refused until the next session starts with it."""
    assert caller.episode_id is not None, "the caller is in a session"
    header = await services.stores.of(caller.project).seal(caller.episode_id)
    return EndedSession(interaction_count=header.num_turns)


async def _known_session(key: str | None, services: Services, caller: Caller) -> Caller | None:
    """The session with this key, if the caller's project has one. Raises Conflict for the key of anything else."""
    if not key or len(key) > MAX_KEY_CHARACTERS:
        return None
    known = await services.authenticator.known_caller(key)
    if known is None or known.project != caller.project:
        return None
    if "admin" in known.scopes:
        raise BadRequest("an admin key cannot be the key of a session", param="api_key")
    if known.session is None:
        raise Conflict(
            "this key is bound to something else than a session; leave api_key out to get a new one",
            param="api_key",
        )
    return known


def _episode_of(retry_key: str | None, caller: Caller) -> str | None:
    if not retry_key:
        return None
    chosen = chosen_key(retry_key.encode("latin-1"))
    return episode_of_key(chosen, key_id=caller.key_id, purpose="session")


async def _opened(
    episode_id: str, *, name: str, key: str, body: SessionBody, services: Services, owner: Caller
) -> Session:
    spec = EpisodeSpec(
        id=episode_id,
        task_id=body.task_id,
        kind="train" if owner.trains else "side",
        key_id=owner.key_id,
        max_group_size=services.settings.max_group_size,
        max_open_episodes=owner.limits.max_open_episodes or 0,
        is_trained=owner.trains,
    )
    header = await services.stores.of(owner.project).start_session(name, spec)
    return Session(session_id=header.id, api_key=key)


async def _turn_id(
    interaction_id: str | None, *, services: Services, store: Store, episode_id: str
) -> str:
    """The turn that a reply's id names, or the last one that counts."""
    if interaction_id is None:
        turns = await store.turns(episode_id)
        last = _last(turns)
        if last is None:
            raise BadRequest("no interactions in this session; call the model first")
        return last.id
    turn_id = services.dialects.turn_id(interaction_id)
    if await store.locate(turn_id) != episode_id:
        raise BadRequest(
            f"no interaction {interaction_id[:64]} in this session", param="interaction_id"
        )
    return turn_id


def _last(turns: list[Turn]) -> Turn | None:
    """The last turn that somebody received; a side call is the last one only if there is no other."""
    received = [t for t in turns if not all(output.is_abandoned for output in t.outputs)]
    trained = [turn for turn in received if turn.kind == "train"]
    return next(reversed(trained or received), None)
