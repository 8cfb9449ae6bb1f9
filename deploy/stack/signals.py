"""The two signals that ask a foreground command to end in order."""

import asyncio
import signal
from collections.abc import Callable


def call_on_stop(callback: Callable[[], None]) -> None:
    """Call `callback` on SIGTERM and on Ctrl-C; a second Ctrl-C changes nothing, because the shutdown has deadlines."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, callback)
