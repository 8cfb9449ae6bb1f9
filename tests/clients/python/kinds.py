"""The two kinds of clients under one handle, so that a scenario is written once and runs with both."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

from turngate import AsyncEpisode, AsyncTurngate, Episode, Turngate

Kind = Literal["blocking", "awaiting"]
KINDS: tuple[Kind, ...] = ("blocking", "awaiting")


async def done(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The result of an operation; a blocking one runs in a thread, because the gateway runs in this event loop."""
    result = await asyncio.to_thread(method, *args, **kwargs)
    return await result if asyncio.iscoroutine(result) else result


@asynccontextmanager
async def opened(kind: Kind, root: str, key: str, **options: Any) -> AsyncIterator[Any]:
    if kind == "awaiting":
        async with AsyncTurngate(root, key, **options) as client:
            yield client
        return
    with Turngate(root, key, **options) as blocking:
        yield blocking


@asynccontextmanager
async def inside(episode: Episode | AsyncEpisode) -> AsyncIterator[Any]:
    """The `with` or `async with` block of an episode."""
    if isinstance(episode, AsyncEpisode):
        async with episode:
            yield episode
        return
    await asyncio.to_thread(episode.__enter__)
    try:
        yield episode
    except BaseException as error:
        await asyncio.to_thread(episode.__exit__, type(error), error, error.__traceback__)
        raise
    await asyncio.to_thread(episode.__exit__, None, None, None)
