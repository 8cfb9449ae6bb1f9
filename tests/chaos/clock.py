"""A clock that all processes of the service read and the test can change: libfaketime, where it is installed.

It slows every process down several times, so a run has clock jumps only if they are named.
"""

from collections.abc import Mapping
from pathlib import Path

CACHE_SECONDS = 1  # between two looks of a process at the file


def library() -> Path | None:
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


def environment(clock: Path) -> Mapping[str, str]:
    """Variables with which a process takes the time of day from this file. Only that: timeouts are not changed."""
    found = library()
    assert found is not None, "install libfaketime, for example with `apt install libfaketime`"
    clock.write_text("+0\n")
    return {
        "LD_PRELOAD": str(found),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": str(CACHE_SECONDS),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
