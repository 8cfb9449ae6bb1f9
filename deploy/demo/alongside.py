"""A coroutine without end that runs as long as a block does."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

from deploy.stack.waiting import first_error


@asynccontextmanager
async def alongside(endless: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """If either fails, cancel the other and raise the first error itself."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(endless)
            yield
            task.cancel()
    except BaseExceptionGroup as group_of_errors:
        raise first_error(group_of_errors) from None


async def repeat(seconds: float, action: Callable[[], None]) -> None:
    while True:
        action()
        await asyncio.sleep(seconds)
