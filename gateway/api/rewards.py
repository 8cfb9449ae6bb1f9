"""Rewards over HTTP, addressed by episode, by turn, or by the id of the reply that the SDK received.

`choice_index` addresses one choice of a turn that has several.
"""

from typing import Annotated

from fastapi import APIRouter, Body

from gateway.api.dependencies import EpisodeId, Rewarder, ServicesDep
from gateway.api.requests import AddressedReward, RewardBody, Rewards
from gateway.api.responses import ListObject, RewardObject
from gateway.errors import BadRequest, NotFound
from gateway.services import Services
from rollout.episode.reward import EpisodeReward, Reward, RewardAnswer
from rollout.store.store import Store

router = APIRouter(prefix="/v1", tags=["rewards"])

Address = tuple[str, str | None]  # episode, turn


@router.post("/episodes/{id}/rewards")
async def reward_episode(
    episode_id: EpisodeId,
    body: RewardBody,
    services: ServicesDep,
    caller: Rewarder,
) -> RewardObject:
    """Reward an episode or one of its turns; a new value for the same turn and name amends the old one."""
    store = services.stores.of(caller.project)
    address = (episode_id, body.turn_id)
    (answer,) = await store.rewards([await _reward(store, address, body)])
    return _object(answer)


@router.post("/rewards")
async def reward(
    body: Annotated[Rewards, Body()],
    services: ServicesDep,
    caller: Rewarder,
) -> RewardObject | ListObject[RewardObject]:
    """Reward by completion id or episode id, one or many; of a list all are recorded or none."""
    store = services.stores.of(caller.project)
    listed = [body] if isinstance(body, AddressedReward) else body
    rewards = [await _reward(store, await _address(services, store, each), each) for each in listed]
    recorded = [_object(answer) for answer in await store.rewards(rewards)]
    return recorded[0] if isinstance(body, AddressedReward) else ListObject(data=recorded)


async def _address(services: Services, store: Store, body: AddressedReward) -> Address:
    if body.completion_id is None:
        assert body.episode_id is not None, "the body has one address"
        return body.episode_id, body.turn_id
    turn_id = services.dialects.turn_id(body.completion_id)
    episode_id = await store.locate(turn_id)
    if episode_id is None:
        raise NotFound(
            f"no completion {body.completion_id[:64]}; it was never recorded, or its data has expired",
            param="completion_id",
            code="completion_not_found",
        )
    return episode_id, turn_id


async def _check_choice(store: Store, address: Address, choice: int) -> None:
    """A reward for a choice that was never sampled would reach nothing."""
    episode_id, turn_id = address
    if turn_id is None:
        raise BadRequest("choice_index needs a turn_id or a completion_id", param="choice_index")
    turns = {turn.id: turn for turn in await store.turns(episode_id)}
    if turn_id in turns and choice >= len(turns[turn_id].outputs):
        raise NotFound(
            f"{turn_id} has {len(turns[turn_id].outputs)} choices; choice_index counts from 0",
            param="choice_index",
            code="choice_not_found",
        )


async def _reward(store: Store, address: Address, body: RewardBody) -> EpisodeReward:
    episode_id, turn_id = address
    if body.choice_index is not None:
        await _check_choice(store, address, body.choice_index)
    reward = Reward(body.value, body.name, turn_id, body.idempotency_key, body.choice_index)
    return EpisodeReward(episode_id, reward, complete=body.complete)


def _object(answer: RewardAnswer) -> RewardObject:
    return RewardObject(
        episode_id=answer.episode_id,
        turn_id=answer.place.turn_id,
        choice_index=answer.place.choice,
        name=answer.place.name,
        value=answer.value,
        created=answer.created_ms // 1000,
        amended=answer.amended,
    )
