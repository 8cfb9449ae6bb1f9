"""Checkpoints of the learner: the last few, each whole, each naming the policy version its weights are."""

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

from trainer.algorithms import RunningBaseline
from trainer.megatron.learner import Learner


@dataclass(frozen=True, slots=True)
class Progress:
    """What the trainer must remember besides the learner's own state."""

    version: int = 0  # the policy whose weights the learner holds
    baseline: RunningBaseline = field(default_factory=RunningBaseline)


class Checkpoints:
    """`<directory>/step00000020`; a name that is anything else is unfinished and nobody's business."""

    def __init__(self, directory: Path, *, every_steps: int, keep: int) -> None:
        self._directory = directory
        self._every_steps = every_steps
        self._keep = keep

    def latest(self) -> Path | None:
        """The newest whole checkpoint, or None."""
        return max(self._all(), default=None, key=lambda path: path.name)

    def is_due(self, steps: int) -> bool:
        return steps % self._every_steps == 0

    def save(self, learner: Learner, progress: Progress) -> Path:
        """Write one, then delete the oldest beyond those kept; every rank calls it."""
        path = self._directory / f"step{learner.steps:08d}"
        if not path.exists():
            learner.save(path, asdict(progress))
        if learner.is_primary:
            for old in sorted(self._all())[: -self._keep]:
                shutil.rmtree(old)
        return path

    def restore(self, learner: Learner) -> Progress | None:
        """Bring the learner back to the newest checkpoint; None if there is none."""
        path = self.latest()
        if path is None:
            return None
        state = learner.load(path)
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
