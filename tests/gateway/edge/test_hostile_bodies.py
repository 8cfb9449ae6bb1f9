"""No body that one caller sends keeps the others waiting, and each is refused with a reason."""

import time

import httpx
import pytest

from tests.gateway.edge.bystander import CHAT, LONGEST_SECONDS, TRIES, bystander
from tests.gateway.edge.hostile_bodies import HOSTILE_BODIES, Hostile
from tests.gateways import Gateway

JSON = {"content-type": "application/json"}
ANSWER_SECONDS = 1.0


@pytest.mark.parametrize("hostile", HOSTILE_BODIES, ids=lambda hostile: hostile.name)
async def test_a_hostile_body_stops_nobody(served: Gateway, hostile: Hostile) -> None:
    """It gets a clear 4xx within a second, and no call of others takes two."""
    body = hostile.body()
    for _ in range(TRIES):
        answer, answer_seconds, worst_seconds = await attacked(served, body)
        assert answer.status_code in (400, 413)
        assert answer.json()["error"]["message"]
        assert answer.headers["x-should-retry"] == "false"
        if answer_seconds < ANSWER_SECONDS and worst_seconds < LONGEST_SECONDS:
            return
    pytest.fail(f"answered in {answer_seconds:.2f} s, others waited {worst_seconds:.2f} s")


async def attacked(served: Gateway, body: bytes) -> tuple[httpx.Response, float, float]:
    """The answer, how long it took, and how long the slowest small call took meanwhile."""
    async with bystander(served) as watching:
        started = time.perf_counter()
        answer = await served.admin.post(CHAT, content=body, headers=JSON)
        seconds = time.perf_counter() - started
    assert watching.statuses == {200}
    return answer, seconds, max(watching.seconds)
