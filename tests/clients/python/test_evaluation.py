"""Evaluations hold the policy still, train nothing, and say how sure they are."""

import asyncio
import math
from itertools import combinations
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.api.test_evaluation import publish
from tests.gateways import ADMIN_KEY, Gateway
from tests.scripted_engine import ScriptedEngine
from turngate import AsyncEpisode, AsyncTurngate, EvaluationResult, Row, Table, evaluate_async
from turngate.errors import PermissionDenied, PolicyMoves, TurngateError
from turngate.rollouts.attempt import Attempt
from turngate.rollouts.estimates import pass_at_k, wilson
from turngate.rollouts.holding import held_policy

ROWS = [{"question": f"{number}?"} for number in range(4)]


async def ask(episode: AsyncEpisode, row: Row) -> float:
    await episode.openai().chat.completions.create(
        model=episode.model, messages=[{"role": "user", "content": row.question}]
    )
    return float(row.id in "01")


async def evaluated(
    served: Gateway, agent: Any = ask, *, key: str = ADMIN_KEY, **options: Any
) -> EvaluationResult:
    async with AsyncTurngate(served.url, key) as turngate:
        return await evaluate_async(ROWS, agent, progress=None, turngate=turngate, **options)


async def test_the_policy_is_held_still(
    served: Gateway, scripted: ScriptedEngine, tmp_path: Path, model_dir: Path
) -> None:
    """While a trainer publishes, one version plays every attempt; then the newest is served again. Nothing trains on it."""
    await publish(served, tmp_path, model_dir, 1)
    began = asyncio.Event()

    async def agent(episode: AsyncEpisode, row: Row) -> float:
        if not began.is_set():
            began.set()
            await publish(served, tmp_path, model_dir, 2)
        return await ask(episode, row)

    result = await evaluated(served, agent, samples=2)

    assert result.table.errors == []
    listed = (await served.admin.get("/v1/episodes?limit=100")).json()["data"]
    assert result.versions == (1,)
    assert scripted.version == 2
    assert {(e["kind"], e["disposition"]) for e in listed} == {("side", "evaluated")}
    assert (result.pass_at(1).value, result.pass_at(2).value) == (0.5, 0.5)
    assert "policy@1" in str(result)


def test_the_text_has_the_chosen_k() -> None:
    """Pass@k is printed for these k and no other."""
    attempts = tuple(Attempt("1", member, "ep_1", reward=1.0) for member in range(4))

    shown = EvaluationResult(Table(attempts), 1.0).text([3])

    assert [line.split()[0] for line in shown.splitlines()[:2]] == ["pass@3", "mean"]


async def test_a_policy_that_was_pinned_stays_pinned(
    served: Gateway, scripted: ScriptedEngine, tmp_path: Path, model_dir: Path
) -> None:
    """Whoever pinned it releases it."""
    await publish(served, tmp_path, model_dir, 1, 2)
    await served.admin.post("/v1/policies/1/activate")

    result = await evaluated(served)

    assert result.versions == (1,)
    assert (await served.admin.get("/v1/training")).json()["pinned"] is True
    assert scripted.version == 1


async def test_before_the_first_policy_training_is_paused(served: Gateway) -> None:
    """There is nothing to pin, so nothing may be published; afterwards training goes on."""
    paused: list[bool] = []

    async def agent(episode: AsyncEpisode, row: Row) -> float:
        paused.append((await served.admin.get("/v1/training")).json()["paused"])
        return await ask(episode, row)

    result = await evaluated(served, agent)

    assert paused == [True] * 4
    assert (await served.admin.get("/v1/training")).json()["paused"] is False
    assert result.versions == (0,)


async def test_without_the_scope_the_policy_may_move(served: Gateway) -> None:
    """The error names the scope and the way without it, whose result tells which versions played."""
    key = (await served.admin.post("/v1/keys", json={})).json()["key"]

    with pytest.raises(PolicyMoves, match=r"scope admin.*hold=False"):
        await evaluated(served, key=key)
    result = await evaluated(served, key=key, hold=False)

    assert result.versions == (0,)
    with pytest.raises(TurngateError, match=r"pass@2 needs at least 2 samples.*samples=2"):
        result.pass_at(2)


async def test_a_refusal_while_the_policy_is_held_is_shown_as_it_is(served: Gateway) -> None:
    """Only what holds the policy needs the scope admin; training goes on afterwards."""
    async with AsyncTurngate(served.url, ADMIN_KEY) as turngate:
        with pytest.raises(PermissionDenied, match="another scope"):
            async with held_policy(turngate):
                raise PermissionDenied("another scope", status=403)

    assert (await served.admin.get("/v1/training")).json()["paused"] is False


async def test_an_evaluation_resumes(served: Gateway, tmp_path: Path) -> None:
    """What has an end in the file is not played again."""
    file = tmp_path / "eval.jsonl"
    first = await evaluated(served, resume=file)

    async def never(episode: AsyncEpisode, row: Row) -> float:
        raise AssertionError

    assert await evaluated(served, never, resume=file) == first


async def test_an_evaluation_resumes_with_the_policy_that_it_began_with(
    served: Gateway, scripted: ScriptedEngine, tmp_path: Path, model_dir: Path
) -> None:
    """A newer one that was published in between plays nothing, and is served afterwards."""
    file = tmp_path / "eval.jsonl"
    await publish(served, tmp_path, model_dir, 1)

    began = asyncio.Event()

    async def endless(episode: AsyncEpisode, row: Row) -> float:
        if row.id != "3":
            return await ask(episode, row)
        began.set()
        return float(await asyncio.Event().wait())

    evaluation = asyncio.create_task(evaluated(served, endless, resume=file, concurrency=1))
    await began.wait()
    evaluation.cancel()
    with pytest.raises(asyncio.CancelledError):
        await evaluation
    await publish(served, tmp_path, model_dir, 2)
    result = await evaluated(served, resume=file)

    assert len(result.table) == len(ROWS)
    assert result.versions == (1,)
    assert (await served.admin.get("/v1/training")).json()["pinned"] is False
    assert scripted.version == 2


async def test_the_pin_of_a_killed_evaluation_ends_with_the_one_that_resumes(
    served: Gateway, tmp_path: Path, model_dir: Path
) -> None:
    """The file says that it was its own; another's pin of another version is not touched."""
    file = tmp_path / "eval.jsonl"
    await publish(served, tmp_path, model_dir, 1)
    first = await evaluated(served, resume=file)
    await publish(served, tmp_path, model_dir, 2)
    await served.admin.post("/v1/policies/2/activate")
    with pytest.raises(PolicyMoves, match="policy 2 is pinned"):
        await evaluated(served, resume=file)
    await served.admin.post("/v1/policies/1/activate")  # as the killed one left it

    assert await evaluated(served, resume=file) == first
    assert (await served.admin.get("/v1/training")).json()["pinned"] is False


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.data())
def test_pass_at_k_is_the_share_of_choices_with_a_pass(
    passes: list[bool], data: st.DataObject
) -> None:
    """The estimator equals a count over every choice of k attempts."""
    k = data.draw(st.integers(1, len(passes)))

    counted = mean(float(any(chosen)) for chosen in combinations(passes, k))

    assert math.isclose(pass_at_k([(len(passes), sum(passes))], k).value, counted)


@pytest.mark.parametrize(("samples", "spread"), [(1, 0), (4, 0), (4, 1)])
@pytest.mark.parametrize("rate", [0.02, 0.3, 0.9])
def test_intervals_hold_the_truth(samples: int, spread: int, rate: float) -> None:
    """In 1,000 evaluations of 100 rows, at least 93 % of the intervals hold the true rate, whether rows are alike or easy and hard."""
    random = Random(f"{samples} {spread} {rate}")
    held = 0
    for _ in range(1000):
        rows = []
        for _ in range(100):
            chance = float(random.random() < rate) if spread else rate
            rows.append((samples, sum(random.random() < chance for _ in range(samples))))
        estimate = pass_at_k(rows, 1)
        held += estimate.low <= rate <= estimate.high

    assert held >= 930


@pytest.mark.parametrize(
    ("passed", "count", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0)],
)
def test_wilson_agrees_with_published_values(
    passed: int, count: int, low: float, high: float
) -> None:
    """The values that statistics packages print."""
    interval = wilson(passed / count, count)

    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-4)
