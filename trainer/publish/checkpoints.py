"""Checkpoints of the learner: the last few, each complete, each with the policy version of its weights."""

import shutil
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path

from trainer.algorithms import RunningBaseline
from trainer.learner.errors import CheckpointError
from trainer.learner.learner import Learner


@dataclass(frozen=True, slots=True)
class Progress:
    """The trainer's state in a checkpoint, beside the learner's."""

    version: int = 0  # the policy whose weights the learner holds
    baseline: RunningBaseline = field(default_factory=RunningBaseline)


@dataclass(frozen=True, slots=True)
class _Writing:
    """A checkpoint that is being written."""

    written: Future[None]
    steps: int
    progress: Progress


class Checkpoints:
    """`<directory>/step00000020`; other names are unfinished checkpoints and are ignored."""

    def __init__(self, directory: Path, *, every_steps: int, keep: int) -> None:
        self._directory = directory
        self._every_steps = every_steps
        self._keep = keep
        self._steps: int | None = None  # of the last checkpoint that was written or restored
        self._writing: _Writing | None = None

    def latest(self) -> Path | None:
        """The newest complete checkpoint, or None."""
        return max(self._all(), default=None, key=lambda path: path.name)

    def is_due(self, steps: int, *, before: int) -> bool:
        """Whether a batch that took the learner from `before` to `steps` optimizer steps passed a multiple of `every_steps`."""
        return steps // self._every_steps > before // self._every_steps

    def has(self, steps: int) -> bool:
        """Whether the last complete checkpoint is of this step; the same on every rank while none is being written."""
        return steps == self._steps

    def begin(self, learner: Learner, progress: Progress) -> None:
        """Write a checkpoint in the background; every rank calls it, after the `finish` of the previous one."""
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
        """Whether a checkpoint waits for `finish`."""
        return self._writing is not None

    @property
    def is_written(self) -> bool:
        """Whether `finish` would return at once."""
        return self._writing is not None and self._writing.written.done()

    def finish(self) -> Progress:
        """Wait until the checkpoint is written, and return its progress."""
        assert self._writing is not None
        writing, self._writing = self._writing, None
        writing.written.result()
        self._steps = writing.steps
        return writing.progress

    def prune(self, learner: Learner, *, pinned: frozenset[int]) -> None:
        """Delete all but the newest `keep` checkpoints and those of pinned policies; rank 0 calls it."""
        for old in sorted(self._all())[: -self._keep]:
            if _version_of(old, learner) not in pinned:
                shutil.rmtree(old)

    def restore(self, learner: Learner) -> Progress | None:
        """Load the newest checkpoint into the learner; None if there is none."""
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
    """The policy version of its weights; None if the checkpoint is damaged."""
    try:
        return learner.saved_state(checkpoint)["version"]
    except CheckpointError:
        return None
