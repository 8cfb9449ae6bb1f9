"""A loop that degrades alone: whatever ends it is logged and counted, and it starts again after a growing, random wait."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import NoReturn

from tenacity import RetryCallState, retry, retry_if_exception_type, wait_random_exponential

log = logging.getLogger(__name__)

FIRST_SECONDS, LONGEST_SECONDS = 0.5, 10.0
HEALTHY_SECONDS = 20.0  # a loop that ran this long begins again with the shortest wait

OnFailure = Callable[[str], object]


def ignore(_loop: str) -> None:
    """For a caller that counts no failures."""


async def run_restarted(
    name: str, work: Callable[[], Awaitable[object]], *, on_failure: OnFailure = ignore
) -> NoReturn:
    """Run `work` until cancelled; a failure of any kind ends neither the process nor another loop."""

    def report(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        wait = 0.0 if state.next_action is None else state.next_action.sleep
        fields = {"loop": name, "attempt": state.attempt_number, "wait_seconds": round(wait, 2)}
        log.error("loop failed", extra=fields, exc_info=error)
        on_failure(name)

    @retry(
        retry=retry_if_exception_type(Exception),
        wait=wait_random_exponential(FIRST_SECONDS, LONGEST_SECONDS),
        before_sleep=report,
    )
    async def until_healthy() -> None:
        started = time.monotonic()
        try:
            await work()
        except Exception as error:
            if time.monotonic() - started < HEALTHY_SECONDS:
                raise
            log.error("loop failed", extra={"loop": name}, exc_info=error)
            on_failure(name)

    while True:
        await until_healthy()
