"""The whole demo on the real stack with an inverted reward: it learns what is rewarded."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from deploy.demo.clerk.tasks import Task
from deploy.demo.run import DemoOptions, run_demo
from tests.profiles import per_profile

# On every change: as few steps and held-out tasks as show a fall that noise does not explain.
STEPS, HELD_OUT = per_profile(ci=(4, 60), nightly=(6, 100))


def inverted(task: Task, answer: str) -> float:
    return 1 - task.reward(answer)


@pytest.mark.engine
@pytest.mark.timeout(900)
async def test_rewarding_wrong_answers_makes_the_policy_worse(tmp_path: Path) -> None:
    """A few steps on inverted rewards cut held-out success by more than half; nothing fails, and every episode has an end.

    The best policy is the one from before, and it is on disk.
    """
    options = DemoOptions(
        steps=STEPS,
        held_out=HELD_OUT,
        directory=tmp_path / "demo",
        cache_dir=Path(".turngate/cache"),
    )
    printed = io.StringIO()

    summary = await run_demo(options, Console(file=printed, no_color=True), judge=inverted)

    assert summary.success_before > 0.1
    assert summary.success_after < summary.success_before / 2
    assert summary.requests_failed == 0
    assert summary.swaps >= STEPS
    assert summary.policy_versions > 1
    assert sum(summary.dispositions.values()) == summary.episodes_opened
    assert summary.dispositions["trained"] >= STEPS * 64 * 0.5
    assert summary.dispositions["evaluated"] == 2 * options.held_out
    assert "failed" not in summary.dispositions
    assert summary.trained_tokens > 0
    assert names_in(options.directory) == ["best", "curve.png", "summary.json"]
    best = summary.best
    assert (best.version, best.mean_reward, best.episodes) == (0, summary.success_before, HELD_OUT)
    assert {"config.json", "model.safetensors"} <= set(names_in(Path(best.directory)))
    assert "agents play, the trainer trains" in printed.getvalue()


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())
