"""The two things that waiting for other programs needs: a poll, and the first error among those of a task group."""

from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, retry_if_result, wait_fixed

POLL_SECONDS = 0.05


async def poll_until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a state that another program reaches and does not announce; the caller sets the deadline."""
    polling = AsyncRetrying(
        retry=retry_if_result(lambda holds: not holds), wait=wait_fixed(POLL_SECONDS)
    )
    await polling(condition)


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception of a task group; the others follow from it."""
    first = group.exceptions[0]
    return first_error(first) if isinstance(first, BaseExceptionGroup) else first
