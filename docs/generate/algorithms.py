"""The presets, each as `turngate trainer explain` shows it, and every choice of every part with its formula."""

import inspect
import io
from collections.abc import Iterator

from rich.console import Console

from docs.generate.markdown import code, table
from trainer.advice.explanation import explain
from trainer.algorithms.entry import Entry
from trainer.composition.composition import Composition
from trainer.composition.presets import PRESETS
from trainer.composition.registry import BUILT_IN
from trainer.explain import shown
from trainer.settings import Settings

INTRO = """\
# Algorithms

`TURNGATE_TRAINER_ALGORITHM` names a preset: a choice for each part of an algorithm. Every part is a [setting](settings.md#trainer-the-parts-of-its-algorithm) of its own that overrides
the preset. `turngate trainer explain --algorithm dapo --set trainer.clip_high=0.3` prints an algorithm with your changes, and says what would make the run a waste. What the parts mean
together is told in [algorithms and staleness](../concepts/algorithms.md). This page is generated from the code that trains.
"""
HEAD = ("algorithm", "from", "what it is", "advantage", "loss", "mean over", "KL to the reference")
CHOICES = """\
## Choices of each part

Each table below is a setting; a [plug-in](../extend/algorithm.md) adds rows of its own.
"""
WIDTH = 118


def page() -> str:
    parts = [INTRO, table(HEAD, summaries()), "", *map(section, PRESETS), CHOICES, *choices()]
    return "\n".join(parts)


def summaries() -> Iterator[tuple[str, ...]]:
    for name, preset in PRESETS.items():
        parts = preset.parts
        yield (
            f"[`{name}`](#{name})",
            preset.source,
            preset.idea,
            advantage(parts),
            loss(parts),
            code(parts.aggregation),
            kl(parts),
        )


def section(name: str) -> str:
    """A preset part by part, formulas included."""
    chosen = Settings(redis_url="", model_dir="", algorithm=name)  # type: ignore[arg-type]
    console = Console(file=io.StringIO(), width=WIDTH, no_color=True, highlight=False)
    with console.capture() as captured:
        console.print(shown(explain(chosen), PRESETS))
    told = captured.get().partition("\nother algorithms:")[0]
    lines = [line.rstrip() for line in told.rstrip().splitlines()]
    return "\n".join([f"## {name}", "", "```text", *lines, "```", ""])


def choices() -> Iterator[str]:
    """Every entry of every table: its formula, and the settings that only it reads."""
    for choice, entries in BUILT_IN.tables.items():
        yield f"### {choice}\n"
        rows = ((code(name), formula(entry), settings(entry)) for name, entry in entries.items())
        yield table((code(choice), "formula", "settings"), rows) + "\n"


def formula(entry: Entry) -> str:
    text = inspect.getdoc(entry.formula) or ""
    return text.partition("\n")[0]


def settings(entry: Entry) -> str:
    return ", ".join(code(setting.name) for setting in entry.settings)


def advantage(parts: Composition) -> str:
    whitened = ", whitened" if parts.whitening == "tokens" else ""
    turns = "" if parts.turn_credit == "episode" else f", {parts.turn_credit}"
    return f"`{parts.advantage}`{turns}{whitened}"


def loss(parts: Composition) -> str:
    bounds = f" {parts.clip_low:g} / {parts.clip_high:g}" if parts.loss_entry.clips else ""
    return f"`{parts.policy_loss}`{bounds}"


def kl(parts: Composition) -> str:
    if parts.kl_in_reward:
        return f"{parts.kl_in_reward:g}, k1 in the reward"
    return f"{parts.kl_in_loss:g}, {parts.kl_estimator} in the loss" if parts.kl_in_loss else ""
