"""The whole stack under faults: nothing acknowledged is lost, nothing is trained twice, and agents see almost nothing."""

import pytest

from tests.chaos.faults import WEIGHTS
from tests.chaos.run import Outcome, Plan, carried_out

KILLS = {kind: weight for kind, weight in WEIGHTS.items() if kind.startswith("kill")}
WITHOUT_REDIS = {kind: weight for kind, weight in KILLS.items() if "redis" not in kind}


def unexpected(outcome: Outcome) -> list[str]:
    """Failures that agents may not see: all but 503 with `retry-after`, and streams that broke after their first event."""
    return [
        f"{failure.call}: {failure.what} {failure.text}"
        for failure in outcome.journal.failures
        if not (failure.what.startswith("503") and failure.has_retry_after)
        and not failure.call.startswith("stream, after")
        and "429" not in failure.attempts
    ]


@pytest.mark.timeout(900)
async def test_kills_in_turn_lose_nothing_and_reach_no_agent() -> None:
    """A process dies every five seconds; every acknowledged turn and reward is there once, and the SDK's retries hide the rest."""
    kinds = ("kill gateway", "kill trainer", "kill redis", "kill engine", "kill gateway")
    plan = Plan(
        seed=7, faults=len(kinds), in_order=kinds, every_seconds=5, agents=4, real_engines=0
    )
    async with carried_out(plan) as outcome:
        assert outcome.findings.offenders == []
        assert unexpected(outcome) == []
        assert len(outcome.journal.turns) > 10
        assert len(outcome.journal.rewards) > 5
        restarts = {name: p["restarts"] for name, p in outcome.service.processes.items()}
    assert sum(restarts.values()) == len(kinds)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
async def test_two_hundred_faults_lose_nothing() -> None:
    """Of every kind, every twelve seconds, and nine of ten published steps stay in the lineage."""
    async with carried_out(Plan(seed=11, faults=200, real_engines=3)) as outcome:
        assert outcome.findings.offenders == []
        assert outcome.progress.ratio >= 0.9


@pytest.mark.nightly
@pytest.mark.timeout(3600)
async def test_kills_of_replicated_processes_reach_no_agent() -> None:
    """Engines, the trainer and single gateways die; the stock SDK's two retries hide it."""
    plan = Plan(seed=13, faults=100, weights=WITHOUT_REDIS, real_engines=1)
    async with carried_out(plan) as outcome:
        assert outcome.findings.offenders == []
        assert unexpected(outcome) == []
