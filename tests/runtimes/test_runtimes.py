"""Real agent runtimes with two settings each, on a task of three tool calls: what the gateway makes of their calls."""

import pytest

from tests.runtimes.conftest import Bench, Ran
from tests.runtimes.lossy_relay import running_relay
from tests.runtimes.table import FAST, FULL, Runtime

RUNTIMES = [
    *(pytest.param(runtime, id=runtime.name) for runtime in FAST),
    *(pytest.param(runtime, id=runtime.name, marks=pytest.mark.runtimes) for runtime in FULL),
]
LOST = (1, 4)  # the replies to the second call, and to the one after its repeat


def check(ran: Ran, runtime: Runtime) -> None:
    """One episode, whose work trains once and whose side calls do not, with as many forks as the table says."""
    report = ran.report
    assert (ran.code, "The total is 10." in ran.out) == (0, True), ran.out + ran.err
    assert len(report.episodes) == 1, report.content()
    spans = [span for span in report.episodes[0].tokens if span.kind == "sampled"]
    kinds = {turn.id: turn.kind for turn in report.turns}
    trained = [span for span in spans if span.trains]
    assert not [span for span in trained if kinds[span.turn_id] == "side"]
    assert len({span.turn_id for span in trained}) == runtime.num_turns, report.content()
    assert report.num_forks == runtime.forks, report.content()


@pytest.mark.runtimes
@pytest.mark.parametrize("runtime", [*FAST, *FULL], ids=lambda runtime: runtime.name)
async def test_a_runtime_plays_in_the_episode_of_its_base_url(
    bench: Bench, runtime: Runtime
) -> None:
    """With the episode in the base URL every call is in it, side calls too."""
    ran = await bench.run(runtime, f"{bench.root}/e/ep_named")
    check(ran, runtime)
    assert ran.report.episodes[0].id == "ep_named"
    assert len(ran.report.side_calls) == runtime.side_calls


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_a_runtime_without_a_carrier_finds_its_episode(
    bench: Bench, runtime: Runtime
) -> None:
    """With nothing but a base URL and a key all calls of a task are one episode."""
    ran = await bench.run(runtime, bench.root)
    check(ran, runtime)
    assert len(ran.report.side_calls) == runtime.side_calls


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_lost_replies_train_nothing_twice(bench: Bench, runtime: Runtime) -> None:
    """Two replies never arrive and the runtime repeats its calls: each turn of the work trains once, in one episode."""
    async with running_relay(bench.root, LOST) as (root, relay):
        ran = await bench.run(runtime, root)
    assert relay.num_lost == len(LOST)
    check(ran, runtime)
