"""Writes checkpoints behind the back of training: one thread, one at a time, in the order they were begun."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch.distributed import ProcessGroup


class CheckpointWriter:
    """Its ranks agree over a group of their own, so that what they say does not mix with what training says."""

    def __init__(self) -> None:
        """Every rank of the job makes its own at the same time."""
        self._group = torch.distributed.new_group(backend="gloo")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")

    def begin(self, write: Callable[[ProcessGroup], None]) -> Future[None]:
        """The future raises what the writing raised."""
        return self._thread.submit(write, self._group)

    def close(self) -> None:
        """Wait for what was begun."""
        self._thread.shutdown(wait=True)
        torch.distributed.destroy_process_group(self._group)
