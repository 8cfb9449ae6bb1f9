"""Checkpoints of the learner: the last few, each whole, each naming the policy version its weights are."""

import shutil
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path

from trainer.algorithms import RunningBaseline
from trainer.learner.errors import CheckpointError
from trainer.learner.learner import Learner


@dataclass(frozen=True, slots=True)
class Progress:
    """What the trainer must remember besides the learner's own state."""

    version: int = 0  # the policy whose weights the learner holds
    baseline: RunningBaseline = field(default_factory=RunningBaseline)


@dataclass(frozen=True, slots=True)
class _Writing:
    """A checkpoint in the making."""

    written: Future[None]
    steps: int
    progress: Progress


class Checkpoints:
    """`<directory>/step00000020`; a name that is anything else is unfinished and nobody's business."""

    def __init__(self, directory: Path, *, every_steps: int, keep: int) -> None:
        self._directory = directory
        self._every_steps = every_steps
        self._keep = keep
        self._steps: int | None = None  # of the last that was written or restored
        self._writing: _Writing | None = None

    def latest(self) -> Path | None:
        """The newest whole checkpoint, or None."""
        return max(self._all(), default=None, key=lambda path: path.name)

    def is_due(self, steps: int, *, before: int) -> bool:
        """Whether a batch that took the learner from `before` to `steps` optimizer steps reached another multiple."""
        return steps // self._every_steps > before // self._every_steps

    def has(self, steps: int) -> bool:
        """Whether the last whole one is of so many steps; with none in the making it is the same on every rank."""
        return steps == self._steps

    def begin(self, learner: Learner, progress: Progress) -> None:
        """Write one while training goes on; every rank calls it, after the `finish` of the one before."""
        assert self._writing is None
        path = self._directory / f"step{learner.steps:08d}"
        written: Future[None] = Future()
        if path.exists():
            written.set_result(None)
        else:
            written = learner.begin_save(path, asdict(progress))
        self._writing = _Writing(written, learner.steps, progress)

    @property
    def is_begun(self) -> bool:
        """Whether there is something to `finish`."""
        return self._writing is not None

    @property
    def is_written(self) -> bool:
        """Whether there is, and it need not be waited for."""
        return self._writing is not None and self._writing.written.done()

    def finish(self) -> Progress:
        """Wait for what was begun; what it remembers."""
        assert self._writing is not None
        writing, self._writing = self._writing, None
        writing.written.result()
        self._steps = writing.steps
        return writing.progress

    def prune(self, learner: Learner, *, pinned: frozenset[int]) -> None:
        """Delete the oldest beyond those kept, but none of a pinned policy; for rank 0."""
        for old in sorted(self._all())[: -self._keep]:
            if _version_of(old, learner) not in pinned:
                shutil.rmtree(old)

    def restore(self, learner: Learner) -> Progress | None:
        """Bring the learner back to the newest checkpoint; None if there is none."""
        path = self.latest()
        if path is None:
            return None
        state = learner.load(path)
        self._steps = learner.steps
        baseline = state["baseline"]
        assert isinstance(baseline, dict)
        version = state["version"]
        assert isinstance(version, int)
        return Progress(version=version, baseline=RunningBaseline(**baseline))

    def _all(self) -> list[Path]:
        if not self._directory.is_dir():
            return []
        return [
            p
            for p in self._directory.iterdir()
            if p.is_dir() and p.name.removeprefix("step").isdigit()
        ]


def _version_of(checkpoint: Path, learner: Learner) -> object:
    """The policy whose weights it holds; None if it is damaged."""
    try:
        return learner.saved_state(checkpoint)["version"]
    except CheckpointError:
        return None
