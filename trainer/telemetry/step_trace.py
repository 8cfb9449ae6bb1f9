"""Profiling: after SIGUSR1 the next batch is traced from its first forward pass to its last optimizer step.

A process that got the signal writes its own trace, for Perfetto or chrome://tracing; there is no cost without the signal.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

log = logging.getLogger("trainer.step_trace")


class StepTrace:
    def __init__(self, directory: Path, *, rank: int = 0) -> None:
        self._directory, self._rank = directory, rank
        self._is_requested = False

    def request(self) -> None:
        """Trace the next batch; may be called from a signal handler."""
        self._is_requested = True

    @contextmanager
    def of(self, step: int) -> Iterator[None]:
        """Trace the block if it was requested; `step` is the first optimizer step in it."""
        if not self._is_requested:
            yield
            return
        self._is_requested = False
        with torch.profiler.profile() as profiler:
            yield
        path = self._directory / f"step{step:08d}.rank{self._rank}.json"
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            profiler.export_chrome_trace(str(path))
        except OSError as error:  # training continues without the trace
            log.error("not traced", extra={"step": step, "error": str(error)})
        else:
            log.info("traced", extra={"step": step, "path": str(path)})
