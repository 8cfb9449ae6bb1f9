"""Writes checkpoints in the background: one thread, one at a time, in the order they were begun."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch.distributed import ProcessGroup


class CheckpointWriter:
    """Its ranks communicate over a process group of their own, apart from the messages of training."""

    def __init__(self) -> None:
        """Collective: every rank of the job makes one."""
        self._group = torch.distributed.new_group(backend="gloo")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")

    def begin(self, write: Callable[[ProcessGroup], None]) -> Future[None]:
        """The future raises the error of `write`."""
        return self._thread.submit(write, self._group)

    def close(self) -> None:
        """Wait until all checkpoints that were begun are written."""
        self._thread.shutdown(wait=True)
        torch.distributed.destroy_process_group(self._group)
