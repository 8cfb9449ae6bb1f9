"""How much faster one optimizer step is on trees than on the rows they stand for.

The same rows on the same random Qwen3 in float32, packed by the trainer once as trees and once without. One thread, CPU time,
the two alternate; the median of the rounds is reported.
"""

import math
import os
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from tests.bench.training.trainer import ROUNDS, cpu_seconds, write_model
from tests.bench.training.trainer import Shape as Model

MODEL = Model("", 0, 0)


@dataclass(frozen=True, slots=True)
class Shape:
    """Rows that begin with the same tokens."""

    name: str
    rows: int
    shared: int
    turns: tuple[tuple[int, int], ...]  # (sampled, context behind it) of each row


SHAPES = (
    Shape("1024 + 8 x 64", 8, 1024, ((64, 0),)),
    Shape("512 + 8 x 64", 8, 512, ((64, 0),)),
    Shape("256 + 8 x 128", 8, 256, ((128, 0),)),
    Shape("64 + 4 x 32", 4, 64, ((32, 0),)),
    # A question to the shop clerk with its tools, two prices, a calculation, the answer.
    Shape("group of 8, 46 + 8 x 58", 8, 46, ((6, 9), (6, 9), (14, 10), (4, 0))),
)


@dataclass(frozen=True, slots=True)
class Figure:
    shape: str
    row_tokens: int
    tree_tokens: int
    tokens_per_second: float  # of rows, trained as trees
    plain_tokens_per_second: float  # of rows, trained as rows

    @property
    def saving(self) -> float:
        return self.row_tokens / self.tree_tokens

    @property
    def ratio(self) -> float:
        return self.tokens_per_second / self.plain_tokens_per_second


def rows_of(shape: Shape) -> list[Any]:
    import numpy as np  # noqa: PLC0415 - as in trainer.py

    from rollout.episode.sequences import TokenSequence  # noqa: PLC0415
    from trainer.batch.episode_rows import Row  # noqa: PLC0415

    random = np.random.default_rng(0)
    shared = random.integers(MODEL.vocabulary, size=shape.shared)
    kinds = [
        np.full(count, kind)
        for turn in shape.turns
        for kind, count in zip((True, False), turn, strict=True)
    ]
    mask = np.concatenate([np.zeros(shape.shared, np.bool_), *kinds])
    nothing = np.zeros(len(mask), np.int32)
    found = []
    for _ in range(shape.rows):
        own = random.integers(MODEL.vocabulary, size=len(mask) - shape.shared)
        tokens = np.concatenate([shared, own]).astype(np.int32)
        sequence = TokenSequence(
            "", tokens, mask, nothing.astype(np.float32), nothing, nothing, nothing
        )
        found.append(Row(sequence, mask.astype(np.float32), np.ones(len(mask), np.float32)))
    return found


def step_of(learner: Any, batch: Any) -> Callable[[], None]:
    from trainer.sft import assistant_loss  # noqa: PLC0415

    return lambda: learner.step(batch, assistant_loss)


def measure(shape: Shape) -> Figure:
    from trainer.batch.assembly import pack_rows  # noqa: PLC0415
    from trainer.learner.optimizer import OptimizerSettings  # noqa: PLC0415
    from trainer.megatron.learner import MegatronLearner  # noqa: PLC0415

    rows = rows_of(shape)
    trees, plain = (pack_rows(rows, token_budget=16_384, min_saving=s) for s in (1.0, math.inf))
    with tempfile.TemporaryDirectory() as name:
        write_model(MODEL, Path(name))
        with MegatronLearner.create(Path(name), OptimizerSettings(1e-4)) as learner:
            steps = [step_of(learner, batch) for batch in (trees, plain)]
            for step in steps * 2:
                step()
            times = [[cpu_seconds(step) for step in steps] for _ in range(ROUNDS)]
    tree_seconds, plain_seconds = (statistics.median(column) for column in zip(*times, strict=True))
    count = plain.num_tokens
    return Figure(shape.name, count, trees.num_tokens, count / tree_seconds, count / plain_seconds)


def run() -> list[Figure]:
    os.environ["OMP_NUM_THREADS"] = "1"
    return [measure(shape) for shape in SHAPES]


def table(figures: list[Figure]) -> Table:
    shown = Table(
        title="Trees: row tokens per CPU second of one optimizer step, float32, one thread"
    )
    shown.add_column("rows that begin alike")
    for column in ("tokens", "in a tree", "fewer", "as trees", "as rows", "faster"):
        shown.add_column(column, justify="right")
    for figure in figures:
        sizes = (f"{figure.row_tokens:,}", f"{figure.tree_tokens:,}", f"{figure.saving:.2f} x")
        speeds = (f"{figure.tokens_per_second:,.0f}", f"{figure.plain_tokens_per_second:,.0f}")
        shown.add_row(figure.shape, *sizes, *speeds, f"{figure.ratio:.2f} x")
    return shown
