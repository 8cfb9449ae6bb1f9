"""How long a checkpoint keeps training waiting, and how long until it is whole.

A random Qwen3 in float32 with Adam's moments, on one process; the median of the rounds is reported.
"""

import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from tests.bench.training.trainer import ROUNDS, Shape, write_model

SHAPES = (
    Shape("3 M parameters", 0, 0),
    Shape("31 M parameters", 0, 0, layers=8, hidden=512, feed_forward=1536, vocabulary=4096),
)


@dataclass(frozen=True, slots=True)
class Figure:
    shape: str
    megabytes: float
    waiting_seconds: float
    whole_seconds: float


def measure(shape: Shape) -> Figure:
    from trainer.learner.optimizer import OptimizerSettings  # noqa: PLC0415
    from trainer.megatron.learner import MegatronLearner  # noqa: PLC0415 - loads torch, after `run`

    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_model(shape, directory)
        waiting, whole = [], []
        with MegatronLearner.create(directory, OptimizerSettings(1e-4)) as learner:
            for index in range(ROUNDS):
                started = time.monotonic()
                save = learner.begin_save(directory / str(index), {})
                waiting.append(time.monotonic() - started)
                save.result()
                whole.append(time.monotonic() - started)
        size = sum(file.stat().st_size for file in (directory / "0").iterdir())
    return Figure(shape.name, size / 1e6, statistics.median(waiting), statistics.median(whole))


def run() -> list[Figure]:
    os.environ["OMP_NUM_THREADS"] = "1"
    return [measure(shape) for shape in SHAPES]


def table(figures: list[Figure]) -> Table:
    rows = Table(title="Checkpoints: seconds on one process")
    rows.add_column("model")
    for column in ("MB", "training waits", "whole after"):
        rows.add_column(column, justify="right")
    for figure in figures:
        seconds = (f"{figure.waiting_seconds:.3f}", f"{figure.whole_seconds:.3f}")
        rows.add_row(figure.shape, f"{figure.megabytes:.0f}", *seconds)
    return rows
