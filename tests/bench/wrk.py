"""The load by wrk, which is written in C: Debian's package `wrk`. It repeats its requests until its time is over.

So it is for requests that may be sent again, as first turns of new episodes are, and for whole replies.
"""

import json
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tests.bench.load import Result

SCRIPT = Path(__file__).with_name("wrk.lua")
NUM_REQUESTS = 1_000  # different ones


def is_installed() -> bool:
    return shutil.which("wrk") is not None


def run(port: int, requests: Iterator[bytes], *, seconds: int, concurrency: int) -> Result:
    """Send the first NUM_REQUESTS over and over, on one thread."""
    with tempfile.NamedTemporaryFile(prefix="tg-wrk-") as file:
        for request in islice(requests, NUM_REQUESTS):
            file.write(b"%d\n%b" % (len(request), request))
        file.flush()
        size = ["--threads", "1", "--connections", str(concurrency), "--duration", f"{seconds}s"]
        command = ["wrk", *size, "--timeout", "30s", "--script", str(SCRIPT)]
        before = _cpu_of_children()
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}", "--", file.name],
            check=True,
            capture_output=True,
            text=True,
        )
    seen = json.loads(done.stdout.splitlines()[-1])
    return Result(**seen, events=0, cpu_seconds=_cpu_of_children() - before)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
