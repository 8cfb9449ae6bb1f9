"""The masks of one batch, computed by a thread that is left behind once a mask is late.

A mask is late by the time that a core gave to it: on a machine with other work a thread may wait long for a core, which is no
fault of its grammar.
"""

import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as LateError
from typing import Protocol

MASK_SECONDS = 0.25  # of a core; the scheduler waits for it, and with it every running call
SHORTEST_WAIT_SECONDS = 0.005
LAST = 19  # the priority of what runs only if nothing else wants to


class Row(Protocol):
    """The mask of one call."""

    def fill_row(self) -> None: ...


class MaskFilling:
    """Fills these rows one after the other on one thread."""

    def __init__(self, rows: Sequence[Row], thread: ThreadPoolExecutor) -> None:
        self._rows = rows
        self._thread = thread
        self._num_done = 0
        self._thread_id: int | None = None
        self._clock: int | None = None  # of the time that a core gave the thread
        self._begun = 0.0  # the present row, on that clock
        self._is_abandoned = False

    def late(self) -> int | None:
        """Wait for all; the place of the first that takes too long, after which no other is begun."""
        running = self._thread.submit(self._run)
        wait = MASK_SECONDS
        while True:
            try:
                running.result(wait)
            except LateError:
                place = self._num_done
                left = MASK_SECONDS - self._used_seconds()
                if left <= 0 and self._num_done == place:
                    self._abandon()
                    return place
                wait = max(left, SHORTEST_WAIT_SECONDS)
            else:
                return None

    def _used_seconds(self) -> float:
        return 0.0 if self._clock is None else time.clock_gettime(self._clock) - self._begun

    def _abandon(self) -> None:
        self._is_abandoned = True
        assert self._thread_id is not None, "it has used time"
        os.setpriority(os.PRIO_PROCESS, self._thread_id, LAST)

    def _run(self) -> None:
        self._thread_id = threading.get_native_id()
        self._begun = time.thread_time()
        self._clock = time.pthread_getcpuclockid(threading.get_ident())
        for row in self._rows:
            if not self._is_abandoned:
                row.fill_row()
                self._begun = time.thread_time()
                self._num_done += 1
