"""`python -m trainer`, or under torchrun: train the policy that the gateway serves until SIGTERM.

After SIGTERM the running step ends, a checkpoint is written, claimed groups are released and the exit code is 0.
SIGUSR1 traces the next step into the checkpoint directory's `traces`. With `--wait` it imports everything, which takes ten
seconds or more, and begins when a line arrives on standard input.
"""

import ctypes
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rollout.errors import RolloutError, Superseded
from rollout.logs import configure
from rollout.settings import SettingsError
from trainer.async_bridge import AsyncBridge, Stopped
from trainer.backends import BACKENDS
from trainer.job import TrainingJob
from trainer.learner.errors import LearnerError
from trainer.settings import Settings
from trainer.telemetry.step_trace import StepTrace

log = logging.getLogger("trainer")

CANNOT_START = 2  # a setting, a model or a checkpoint is wrong; a restart does not help


# glibc's options of mallopt: its names, and what they are set to.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGE_BYTES = 2**20
MOST_ARENAS = 2


def main() -> int:
    configure()
    return_large_memory()
    if "--wait" in sys.argv[1:] and not sys.stdin.readline():
        return 0  # whoever would have said so has ended
    with AsyncBridge.open() as bridge, stopping_on_signals(bridge):
        try:
            opened = TrainingJob.open(Settings.load(), bridge, create_learner=BACKENDS["megatron"])
            with opened as job, tracing_on_signal(job.trace):
                job.run()
        except Stopped as reason:
            log.info("stopped", extra={"waiting": str(reason)})
        except (SettingsError, LearnerError) as error:
            log.critical("cannot start", extra={"error": str(error)})
            return CANNOT_START
        except Superseded as error:
            log.critical("superseded", extra={"error": str(error)})
            return CANNOT_START
        except RolloutError as error:
            log.critical("cannot continue", extra={"error": str(error)})
            return 1
    return 0


def return_large_memory() -> None:
    """Give tensors of a megabyte back to the system when they are freed.

    Batches differ in length, so glibc, which keeps such blocks and cuts them up, needs more for every new one.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):  # not glibc
        return
    for option, value in (
        (M_MMAP_THRESHOLD, LARGE_BYTES),
        (M_TRIM_THRESHOLD, LARGE_BYTES),
        (M_ARENA_MAX, MOST_ARENAS),
    ):
        library.mallopt(option, value)


@contextmanager
def stopping_on_signals(bridge: AsyncBridge) -> Iterator[None]:
    """The first SIGTERM or SIGINT asks the loop to end; a second one kills the process."""

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        bridge.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def tracing_on_signal(trace: StepTrace) -> Iterator[None]:
    """SIGUSR1 asks for a trace of the next step."""
    before = signal.signal(signal.SIGUSR1, lambda *_: trace.request())
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


if __name__ == "__main__":
    sys.exit(main())
