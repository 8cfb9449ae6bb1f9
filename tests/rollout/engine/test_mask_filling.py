"""Which mask of a batch is late, with rows that wait and rows that work."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from rollout.engine.sglang.server.grammars.mask_filling import MASK_SECONDS, MaskFilling


@dataclass
class Row:
    fill: Callable[[], None]
    is_begun: bool = False

    def fill_row(self) -> None:
        self.is_begun = True
        self.fill()


def waits() -> None:
    time.sleep(3 * MASK_SECONDS)


def works() -> None:
    end = time.thread_time() + 4 * MASK_SECONDS
    while time.thread_time() < end:
        pass


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=1) as thread:
        yield thread


def test_a_mask_that_waits_for_a_core_is_not_late(thread: ThreadPoolExecutor) -> None:
    """However long its thread gets none."""
    assert MaskFilling([Row(waits), Row(waits)], thread).late() is None


def test_a_mask_that_works_too_long_is_named_and_none_is_begun_after_it(
    thread: ThreadPoolExecutor,
) -> None:
    """The one before it is filled, and the time of that one does not count."""
    rows = [Row(waits), Row(works), Row(waits)]
    assert MaskFilling(rows, thread).late() == 1
    thread.shutdown()
    assert [row.is_begun for row in rows] == [True, True, False]
