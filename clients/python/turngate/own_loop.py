"""Where blocking and awaited code meet outside the calls to the gateway: agents, graders, and the runs of many of them."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def run_blocking(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, inside a notebook too, whose thread runs an event loop already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    return _thread(asyncio.run, work).result()


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function that blocks. Its thread does not keep the program from ending, as one of an executor would."""
    return await asyncio.wrap_future(_thread(function, *args, **kwargs))


def _thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
    outcome: Future[T] = Future()

    def work() -> None:
        if not outcome.set_running_or_notify_cancel():
            return
        try:
            outcome.set_result(function(*args, **kwargs))
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return outcome
