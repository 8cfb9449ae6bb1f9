"""Random ids at every door: none is a 500, none touches the records of others, and what is accepted can be read back."""

import asyncio
import os
from collections.abc import Iterator

import pytest

from rollout.store.store import Store
from tests.gateway.edge.id_doors import CHAT, Door, Doors, header
from tests.gateways import Gateway
from tests.profiles import per_profile
from tests.random_ids import random_ids

NUM_AT_A_TIME = 8
# A gateway follows every project for ever; with thousands of them it would do nothing else.
ONE_PROJECT_IN = per_profile(ci=1, nightly=20)
VICTIMS = ("victim", "other.one")


async def records(store: Store) -> object:
    """All that the store knows of the victims."""
    views = [await store.episode(name) for name in VICTIMS]
    history = [await store.reward_history(name) for name in VICTIMS]
    return views, history, await store.group("pair")


@pytest.mark.timeout(per_profile(ci=120, nightly=3600))
async def test_no_id_reaches_what_it_does_not_name(served: Gateway) -> None:
    """The ids are random, half of them follow the grammar, and many are near the names of two victims."""
    count, seed = per_profile(ci=600, nightly=4_000), int.from_bytes(os.urandom(4))
    taken = (*VICTIMS, "pair")
    found = random_ids(seed, count, near=(*taken, "k" * 255))
    ids = [id_ for id_ in found if header(id_).decode() not in taken]
    for name in VICTIMS:
        headers = {"x-turngate-group": "pair", "x-turngate-group-size": "2"}
        path = f"/e/{name}/v1/chat/completions"
        (await served.admin.post(path, json=CHAT, headers=headers)).raise_for_status()
    reward = {"value": 1, "idempotency_key": "victim"}
    await served.admin.post("/v1/episodes/victim/rewards", json=reward)
    before = await records(served.store)
    doors = Doors(served.admin)
    every = doors.all()
    calls = (
        (door, id_)
        for number, id_ in enumerate(ids)
        for door in per_profile(ci=every[number % len(every) :][:1], nightly=every)
        if door != doors.project or number % ONE_PROJECT_IN == 0
    )

    async def work(rest: Iterator[tuple[Door, str]]) -> None:
        for door, id_ in rest:
            try:
                answer = await door(id_)
                assert answer.status_code < 500, answer.text
            except Exception as error:
                raise AssertionError(f"seed {seed}, {door.__name__}({id_!r}): {error!r}") from error

    async with asyncio.TaskGroup() as tasks:
        for _ in range(NUM_AT_A_TIME):
            tasks.create_task(work(calls))

    assert await records(served.store) == before, f"seed {seed}"
    assert await served.store.repair() == 0, f"seed {seed}"
