"""Checkpoints: the points where training can restart, each the complete state of one published policy version.

By default every version has one. It is written while the policy's weights are, and small models wait for it before the policy is
recorded, so that a death costs the step in hand and no recorded one.
"""

import shutil
from concurrent.futures import Future, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path

from trainer.algorithms import RunningBaseline
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
    progress: Progress


class Checkpoints:
    """`<directory>/v00000012` for policy version 12; other names are unfinished or damaged and are ignored."""

    def __init__(self, directory: Path, *, every_steps: int, keep: int) -> None:
        self._directory = directory
        self._every_steps = every_steps
        self._keep = keep
        self._complete: int | None = None  # the version that was written or restored last
        self._writing: _Writing | None = None

    def newest(self, *, at_most: int | None = None) -> int | None:
        """The newest version with a complete checkpoint, up to a version if one is given."""
        found = [v for v in self._versions() if at_most is None or v <= at_most]
        return max(found, default=None)

    @property
    def oldest_kept(self) -> int | None:
        """Restarting never goes further back than to this version, unless an operator decides so."""
        return next(iter(self._versions()[-self._keep :]), None)

    def is_due(self, steps: int, *, before: int) -> bool:
        """Whether a batch that took the learner from `before` to `steps` optimizer steps passed a multiple of `every_steps`."""
        return steps // self._every_steps > before // self._every_steps

    def has(self, version: int) -> bool:
        """Whether the last complete checkpoint is of this version; the same on every rank while none is being written."""
        return version == self._complete

    def begin(self, learner: Learner, progress: Progress) -> None:
        """Write a checkpoint in the background; every rank calls it, after the `finish` of the previous one."""
        assert self._writing is None
        written: Future[None] = Future()
        if (path := self.path(progress.version)).exists():
            written.set_result(None)
        else:
            written = learner.begin_save(path, asdict(progress))
        self._writing = _Writing(written, progress)

    @property
    def is_begun(self) -> bool:
        """Whether a checkpoint waits for `finish`."""
        return self._writing is not None

    @property
    def is_written(self) -> bool:
        """Whether `finish` would return at once."""
        return self._writing is not None and self._writing.written.done()

    def wait(self, seconds: float) -> None:
        """Give the checkpoint that is being written this much time."""
        if self._writing is not None:
            wait([self._writing.written], timeout=seconds)

    def finish(self) -> Progress:
        """Wait until the checkpoint is written, and return its progress."""
        assert self._writing is not None
        writing, self._writing = self._writing, None
        writing.written.result()
        self._complete = writing.progress.version
        return writing.progress

    def prune(self, *, pinned: frozenset[int]) -> None:
        """Delete all but the newest `keep` checkpoints and those of pinned policies; rank 0 calls it."""
        for version in self._versions()[: -self._keep]:
            if version not in pinned:
                self._delete(version)

    def forget_after(self, version: int) -> None:
        """Delete checkpoints of policies that were written and not recorded, and what a death left unfinished.

        Rank 0 calls it while no checkpoint is being written.
        """
        for newer in self._versions():
            if newer > version:
                self._delete(newer)
        for leftover in self._directory.glob(".v*"):
            shutil.rmtree(leftover)

    def set_aside(self, version: int) -> None:
        """Keep a damaged checkpoint under a name that is not read, in place of the one before; rank 0 calls it."""
        for earlier in self._directory.glob("v*.damaged"):
            shutil.rmtree(earlier)
        path = self.path(version)
        path.rename(path.with_name(f"{path.name}.damaged"))

    def restore(self, learner: Learner, version: int) -> Progress:
        """Load this version into the learner. Raises CheckpointError before a weight is changed."""
        state = learner.load(self.path(version))
        self._complete = version
        baseline = state["baseline"]
        assert isinstance(baseline, dict)
        assert state["version"] == version
        return Progress(version=version, baseline=RunningBaseline(**baseline))

    def path(self, version: int) -> Path:
        return self._directory / f"v{version:08d}"

    def _delete(self, version: int) -> None:
        """Renamed first, so that a death in between leaves no checkpoint with a part of its files."""
        path = self.path(version)
        leaving = path.with_name(f".{path.name}.leaving")
        shutil.rmtree(leaving, ignore_errors=True)
        shutil.rmtree(path.rename(leaving))

    def _versions(self) -> list[int]:
        """Of all complete checkpoints, ascending."""
        if not self._directory.is_dir():
            return []
        names = [path.name for path in self._directory.iterdir() if path.is_dir()]
        return sorted(int(name[1:]) for name in names if name[:1] == "v" and name[1:].isdigit())
