"""Lives of a trainer process that start in a second: each is forked from one process that has imported everything.

usage: trainer_lives.py LOG; a line on standard input starts a life, whose process id is answered.
"""

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

LONGEST_SECONDS = 120.0


@dataclass
class Lives:
    """Starts trainers, and reads what all of them log."""

    parent: subprocess.Popen[str]
    log: Path
    started: list[psutil.Process] = field(default_factory=list)

    def start(self) -> psutil.Process:
        assert self.parent.stdin is not None
        assert self.parent.stdout is not None
        self.parent.stdin.write("start\n")
        self.parent.stdin.flush()
        life = psutil.Process(int(self.parent.stdout.readline()))
        self.started.append(life)
        return life

    def count(self, event: str) -> int:
        """How often this event was logged."""
        return self.log.read_text().count(f" {event}")

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        """Until something is so, while the last life goes on."""
        deadline = time.monotonic() + LONGEST_SECONDS
        while not is_so():
            assert self.is_alive(self.started[-1]), self.log.read_text()[-5000:]
            assert time.monotonic() < deadline, self.log.read_text()[-5000:]
            time.sleep(0.02)

    def wait_for_another(self, event: str) -> None:
        """Until this event is logged once more."""
        before = self.count(event)
        self.wait_for(lambda: self.count(event) > before)

    @staticmethod
    def is_alive(life: psutil.Process) -> bool:
        return life.is_running() and life.status() != psutil.STATUS_ZOMBIE


@contextmanager
def trainer_lives(environment: dict[str, str], log: Path) -> Iterator[Lives]:
    log.touch()
    parent = subprocess.Popen(
        [sys.executable, __file__, str(log)],
        env=os.environ | environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    lives = Lives(parent, log)
    try:
        yield lives
    finally:
        for life in lives.started:
            if life.is_running():
                life.kill()
        parent.kill()
        parent.communicate()


def main(log: str) -> None:
    from trainer.__main__ import main as train  # noqa: PLC0415 - this module is imported by tests too

    for _ in sys.stdin:
        if (child := os.fork()) == 0:
            target = os.open(log, os.O_WRONLY | os.O_APPEND)
            os.dup2(target, 1)
            os.dup2(target, 2)
            code = 1
            try:
                code = train()
            except BaseException:
                traceback.print_exc()
            finally:
                os.write(2, f"exit code {code}\n".encode())
                os._exit(code)
        os.write(1, f"{child}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1])
