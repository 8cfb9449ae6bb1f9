"""What a real gateway writes for real calls contradicts nothing, and its metrics are those of the store."""

import struct
from collections.abc import Mapping
from typing import Any

import pytest

from rollout.audit.audit import Audit
from rollout.audit.metrics import check_metrics
from rollout.episode.advantages import Credit
from rollout.ledger.ledger import Ledger
from rollout.policies import Policy
from rollout.settler import settle
from tests.gateways import Gateway
from tests.rollout.play import claim

USER: Any = {"role": "user", "content": "What does a melon cost?"}
CREDIT = Credit(struct.pack("<f", 0.5), 3)


async def ask(served: Gateway, episode: str, **headers: str) -> None:
    path = f"/e/{episode}/v1/chat/completions"
    reply = await served.admin.post(path, json={"messages": [USER]}, headers=headers)
    assert reply.status_code == 200


async def test_what_a_gateway_writes_contradicts_nothing(served: Gateway, tmp_path: Any) -> None:
    """Calls, repeats, side calls, rewards, a trained group, a deleted and an open episode; then the metrics say the same."""
    await ask(served, "ep_1", **{"X-Turngate-Group": "g", "X-Turngate-Group-Size": "2"})
    await ask(served, "ep_2", **{"X-Turngate-Group": "g", "Idempotency-Key": "k"})
    await ask(served, "ep_2", **{"X-Turngate-Group": "g", "Idempotency-Key": "k"})
    for name in ("ep_1", "ep_2"):
        reward = {"value": 1, "complete": True, "idempotency_key": "r"}
        for _ in range(2):
            await served.admin.post(f"/v1/episodes/{name}/rewards", json=reward)
    await ask(served, "ep_3", **{"X-Turngate-Turn-Kind": "side"})
    await served.admin.post("/v1/episodes/ep_3/complete")
    await ask(served, "ep_4")
    await served.admin.delete("/v1/episodes/ep_4")
    await ask(served, "ep_5")
    await served.admin.post("/v1/episodes/ep_5/rewards", json={"value": 0.5, "name": "style"})
    claims = await claim(served.store)
    credit = {view.header.id: CREDIT for each in claims for view in each.episodes}
    await served.store.ack("trainer", ["g"], Policy(1, "", None, "digest", 7), credit=credit)
    ledger = await Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    await settle(served.store, ledger)

    report = await Audit(served.store, ledger, metrics_urls=[served.metrics_url]).run()

    await ledger.close()
    assert report.offenders == ()
    assert (report.episodes, report.trained, report.not_compared) == (5, 2, ())


@pytest.mark.parametrize(
    ("shown", "found"),
    [
        ({"opened": 3.0, "trained": 2.0, "stale": 1.0}, []),
        ({"opened": 3.0, "trained": 1.0, "stale": 1.0}, ["trained 2"]),
        ({"trained": 2.0, "stale": 1.0, "failed": 1.0}, ["opened 3", "failed 0"]),
    ],
)
def test_a_metric_that_differs_is_named(shown: Mapping[str, float], found: list[str]) -> None:
    """Each disposition is compared; one that is not shown counts as 0, `opened` too."""
    totals = {"opened": "3", "trained": "2", "stale": "1"}

    offenders = check_metrics("http://a/metrics", shown, totals)

    assert [(each.kind, each.id, each.expected) for each in offenders] == [
        ("metric", "http://a/metrics", expected) for expected in found
    ]
