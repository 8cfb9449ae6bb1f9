"""Rewards over HTTP, addressed by episode, by turn, or by the id of the reply that the SDK received.

`choice_index` addresses one choice of a turn that has several.
"""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Body

from gateway.api.dependencies import EpisodeId, Rewarder, ServicesDep, check_own
from gateway.api.documented_errors import IN_CONFLICT, NOT_FOUND, OF_CALLS_WITH_A_KEY
from gateway.api.requests import AddressedReward, RewardBody, Rewards
from gateway.api.responses import ListObject, RewardObject
from gateway.errors import BadRequest, NotFound
from gateway.services import Services
from rollout.episode.reward import EpisodeReward, Reward, RewardAnswer
from rollout.store.store import Store

router = APIRouter(prefix="/v1", tags=["rewards"], responses=OF_CALLS_WITH_A_KEY)

Address = tuple[str, str | None]  # episode, turn


@router.post("/episodes/{id}/rewards", responses=NOT_FOUND | IN_CONFLICT)
async def reward_episode(
    episode_id: EpisodeId,
    body: RewardBody,
    services: ServicesDep,
    caller: Rewarder,
) -> RewardObject:
    """Reward an episode or one of its turns; a new value for the same turn and name amends the old one."""
    store = services.stores.of(caller.project)
    address = (episode_id, body.turn_id)
    rewards = [_reward(address, body)]
    check_own(caller, [each.episode_id for each in rewards])
    await _check_choices(store, rewards)
    (answer,) = await store.rewards(rewards)
    return _object(answer)


@router.post("/rewards", responses=NOT_FOUND | IN_CONFLICT)
async def reward(
    body: Annotated[Rewards, Body()],
    services: ServicesDep,
    caller: Rewarder,
) -> RewardObject | ListObject[RewardObject]:
    """Reward by completion id or episode id, one or many; of a list all are recorded or none."""
    store = services.stores.of(caller.project)
    listed = [body] if isinstance(body, AddressedReward) else body
    rewards = [_reward(await _address(services, store, each), each) for each in listed]
    check_own(caller, [each.episode_id for each in rewards])
    await _check_choices(store, rewards)
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


async def _check_choices(store: Store, rewards: Sequence[EpisodeReward]) -> None:
    """A reward for a choice that was never sampled would reach nothing. The turns of an episode are read once."""
    known: dict[str, dict[str, int]] = {}
    for given in rewards:
        place, episode_id = given.reward.place, given.episode_id
        if place.choice is None:
            continue
        if place.turn_id is None:
            raise BadRequest(
                "choice_index needs a turn_id or a completion_id", param="choice_index"
            )
        if episode_id not in known:
            turns = await store.turns(episode_id)
            known[episode_id] = {turn.id: len(turn.outputs) for turn in turns}
        num_choices = known[episode_id].get(place.turn_id)
        if num_choices is not None and place.choice >= num_choices:
            raise NotFound(
                f"{place.turn_id} has {num_choices} choices; choice_index counts from 0",
                param="choice_index",
                code="choice_not_found",
            )


def _reward(address: Address, body: RewardBody) -> EpisodeReward:
    episode_id, turn_id = address
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
