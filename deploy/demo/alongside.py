"""Something endless that runs while a block does."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager


@asynccontextmanager
async def alongside(endless: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """If either fails the other is cancelled, and what failed first is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(endless)
            yield
            task.cancel()
    except BaseExceptionGroup as group_of_errors:
        raise first(group_of_errors) from None


async def repeat(seconds: float, action: Callable[[], None]) -> None:
    while True:
        action()
        await asyncio.sleep(seconds)


def first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What happened first; the rest of a task group's exceptions follow from it."""
    inner = group.exceptions[0]
    return first(inner) if isinstance(inner, BaseExceptionGroup) else inner
