r"""Mathematical equivalence by `math-verify`: 1/2, 0.5, \frac{2}{4} and {x = 1/2} are one answer.

It runs in a process of its own: a formula that never simplifies is stopped, and its timers, which work in a main thread only, work
wherever the grader is called.
"""

import json
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue

from turngate.datasets.row import Row, final_answer
from turngate.errors import GradingFailed, PackageMissing
from turngate.graders.grader import Grader

WORKER = Path(__file__).with_name("math_worker.py")
START_SECONDS = 60.0  # sympy takes seconds to import on a busy machine


def math(*, timeout: float = 10.0) -> Grader:
    """1 if the answer equals the row's as mathematics; 0 if that cannot be shown within `timeout` seconds."""
    if find_spec("math_verify") is None:
        raise PackageMissing("math-verify", "math", purpose="graders.math")
    worker = Worker(timeout)

    def grade(answer: str, row: Row) -> float:
        if row.answer and final_answer(answer) == row.answer.strip():
            return 1.0
        return float(worker.is_equal(answer, row.answer))

    return Grader(grade, "math")


class Worker:
    """One process, asked by one thread at a time; started when it is needed and again after it was stopped."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._lines: SimpleQueue[str] = SimpleQueue()

    def is_equal(self, answer: str, reference: str) -> bool:
        """False if it never simplifies, and if it kills two processes."""
        line = json.dumps({"answer": answer, "reference": reference}) + "\n"
        with self._lock:
            for _ in range(2):  # a process that dies may have been killed for other reasons
                try:
                    equal = self._ask(line)
                except Empty:
                    equal = "0\n"
                    self._stop()
                if equal:
                    return equal == "1\n"
                self._stop()
        return False

    def _ask(self, line: str) -> str:
        """Its answer, empty if the process is dead. Raises Empty after the timeout."""
        process = self._process or self._start()
        assert process.stdin is not None, "the process has pipes"
        try:
            process.stdin.write(line)
            process.stdin.flush()
        except BrokenPipeError:
            return ""
        return self._lines.get(timeout=self._timeout)

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-P", str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._lines = SimpleQueue()
        threading.Thread(target=_forward, args=(process, self._lines), daemon=True).start()
        weakref.finalize(self, _end, process)
        try:
            greeting = self._lines.get(timeout=START_SECONDS)
        except Empty:
            greeting = ""
        if greeting != "ready\n":
            _end(process)
            raise GradingFailed("math-verify did not start; try `python -c 'import math_verify'`")
        self._process = process
        return process

    def _stop(self) -> None:
        if self._process is not None:
            _end(self._process)
            self._process = None


def _forward(process: subprocess.Popen[str], lines: "SimpleQueue[str]") -> None:
    assert process.stdout is not None, "the process has pipes"
    for line in process.stdout:
        lines.put(line)
    process.stdout.close()
    lines.put("")


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdin is not None and not process.stdin.closed:
        with suppress(BrokenPipeError):
            process.stdin.close()
