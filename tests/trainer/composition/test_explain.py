"""The output of `turngate trainer explain`."""

import io
import json
import os
import subprocess
import sys

import pytest
from rich.console import Console

from tests.trainer.composition.test_findings import settings_of
from trainer.advice.explanation import explain
from trainer.composition.composition import Composition
from trainer.composition.presets import PRESETS
from trainer.explain import shown


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def text(algorithm: str, **values: object) -> str:
    """The text in a wide terminal."""
    console = Console(file=io.StringIO(), width=200, no_color=True)
    console.print(shown(explain(settings_of(algorithm, **values)), PRESETS))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("algorithm", PRESETS)
def test_every_part_that_acts_is_shown_with_its_formula(algorithm: str) -> None:
    """Each value that is read is in the text, with what it means; numbers that nothing reads are not."""
    parts = PRESETS[algorithm].parts
    output = text(algorithm)

    lines = [line for section in explain(settings_of(algorithm)).sections for line in section.lines]
    assert all(line.formula and line.formula in output for line in lines)
    named = {line.part for line in lines} | {n.name for line in lines for n in line.numbers}
    absent = {name for name in Composition.model_fields if name not in named}
    silent = {"dynamic_sampling", "kl_in_reward", "kl_in_loss", "opsm_delta", "entropy_bonus"}
    assert all(not parts.reads(name) or getattr(parts, name) == 0 for name in absent - silent)
    assert all(getattr(parts, name) == 0 for name in absent & silent)
    assert PRESETS[algorithm].source in output


def test_what_was_changed_is_marked_with_where_it_comes_from() -> None:
    """A setting says (set), a bound that came with another choice names that choice."""
    output = text("decoupled", correction="tis", entropy_bonus=0.01)

    assert "tis (set)   correction_low 0 (tis)   correction_high 2 (tis)" in output
    assert "0.01 (set)" in output
    assert "loss = sum over tokens of W * (w * l - 0.01 * H)" in output
    assert "clip_low 0.2   clip_high 0.28 " in output


def test_findings_are_shown_with_their_remedies() -> None:
    """What would stop the start or be logged stands below the parts."""
    output = text("gspo", clip_high=0.2, kl_in_loss=0.1, kl_in_reward=0.1)

    assert "error: the KL to the reference is in the loss (0.1) and in the reward (0.1)" in output
    assert "set one of kl_in_loss and kl_in_reward to 0" in output
    assert "warning: gspo with clip_low=0.0003, clip_high=0.2" in output


def test_the_command_writes_every_part_as_json() -> None:
    """`turngate trainer explain --output json`: one object with all parts, effective, each with its origin."""
    command = ("deploy.cli", "trainer", "explain", "--algorithm", "dapo")
    done = run(*command, "--set", "trainer.clip_high=0.5", "--output", "json")

    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout)
    parts = {part["name"]: part for part in output["parts"]}
    assert output["algorithm"] == "dapo"
    assert parts.keys() == Composition.model_fields.keys()
    assert (parts["clip_high"]["value"], parts["clip_high"]["from"]) == (0.5, "set")
    assert (parts["clip_low"]["value"], parts["clip_low"]["from"]) == (0.2, "dapo")
    assert parts["reward_low"]["value"] is None
    assert "PPO (1707.06347)" in parts["policy_loss"]["formula"]
    assert output["findings"] == []


def test_a_choice_that_does_not_exist_is_answered_with_the_nearest() -> None:
    """The error names the variable, what there is, and the one that was meant."""
    done = run("trainer.explain", TURNGATE_TRAINER_CORRECTION="icepopp")

    assert done.returncode == 1
    message = " ".join(done.stderr.split())
    assert message.startswith("error: TURNGATE_TRAINER_CORRECTION: ")
    assert message.endswith("did you mean icepop?")
