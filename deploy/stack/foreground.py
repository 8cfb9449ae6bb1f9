"""One process in the foreground: it writes to our standard error, and we exit when it does; a crash is not restarted."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

from deploy.stack.process import Child, ProcessSpec
from deploy.stack.signals import call_on_stop


async def run_alone(spec: ProcessSpec, announce: Callable[[], Awaitable[None]]) -> int:
    """Return the exit code of the process, or 0 after SIGTERM or Ctrl-C."""
    stopping = asyncio.Event()
    call_on_stop(stopping.set)
    child = Child(spec, log=None)
    if spec.knows_hangup:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, child.hang_up)
    life = asyncio.create_task(_live(child, announce))
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({life, stop}, return_when=asyncio.FIRST_COMPLETED)
        return life.result() if life.done() else 0
    finally:
        life.cancel()
        stop.cancel()
        await asyncio.gather(life, stop, return_exceptions=True)
        await child.stop()


async def _live(child: Child, announce: Callable[[], Awaitable[None]]) -> int:
    await child.start()
    await child.wait_ready()
    await announce()
    return await child.wait_exit()
