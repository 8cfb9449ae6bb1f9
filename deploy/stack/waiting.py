"""What waiting for other programs needs: a poll, and the first error among those of a task group."""

from collections.abc import Awaitable, Callable
from operator import not_

from tenacity import retry, retry_if_result, wait_fixed

POLL_SECONDS = 0.05


@retry(retry=retry_if_result(not_), wait=wait_fixed(POLL_SECONDS))
async def poll_until(condition: Callable[[], Awaitable[bool]]) -> bool:
    """Wait for a state that another program reaches and does not announce; the caller sets the deadline."""
    return await condition()


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception of a task group; the others follow from it."""
    first = group.exceptions[0]
    return first_error(first) if isinstance(first, BaseExceptionGroup) else first
