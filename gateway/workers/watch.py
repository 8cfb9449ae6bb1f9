"""Looks at one worker every now and then: reads what it counts, and kills it if it hangs."""

import asyncio
import logging

from gateway.workers.process import WorkerProcess

LOOK_SECONDS = ANSWER_SECONDS = 2.0
# Unanswered in a row, a minute in all. They are counted, and not timed, so that a machine that was stopped for a while ends no
# worker.
HUNG_LOOKS = 15

log = logging.getLogger("gateway.workers")


async def watch(
    worker: WorkerProcess,
    *,
    look_seconds: float = LOOK_SECONDS,
    answer_seconds: float = ANSWER_SECONDS,
) -> None:
    """Return when it had to be killed. One that a signal has stopped, as a debugger does, is waited for."""
    await worker.wait_ready()
    silent_looks = 0
    while silent_looks < HUNG_LOOKS:
        await asyncio.sleep(look_seconds)
        answers = await worker.read(seconds=answer_seconds) is not None
        silent_looks = 0 if answers or worker.is_paused else silent_looks + 1
    log.error("worker hangs, killed", extra={"pid": worker.pid})
    worker.kill()
