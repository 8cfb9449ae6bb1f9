"""Notices a process that runs and does nothing: one that a signal has stopped, and one that answers no question.

A stopped process is continued, which loses nothing. One that does not answer for `hung_seconds` is killed, because its
clients wait as long as it lives.
"""

import asyncio
import logging
import signal
from collections.abc import Callable

from deploy.stack.ports import reachable
from deploy.stack.process import Child

PROBE_SECONDS = 1.0  # between two looks at a process
PAUSED_LOOKS = 2  # a snapshot may stop a process for a moment
SILENT_LOOKS = 3  # one lost answer is no proof, however long this process was kept from asking
ANSWER_SECONDS = 5.0

log = logging.getLogger("deploy.supervisor")


async def watch(
    child: Child, *, continued: Callable[[], None], probe_seconds: float = PROBE_SECONDS
) -> str:
    """Return why the process has to be killed, if it ever has to be; `continued` is called when it was only stopped."""
    loop = asyncio.get_running_loop()
    answered, silent, paused = loop.time(), 0, 0
    while silent < SILENT_LOOKS or loop.time() - answered < child.spec.hung_seconds:
        await asyncio.sleep(probe_seconds)
        paused = paused + 1 if child.is_paused else 0
        if paused >= PAUSED_LOOKS:
            child.signal_group(signal.SIGCONT)
            child.why = "was stopped by a signal, and continued"
            log.warning("process continued", extra={"child": child.spec.name})
            continued()
        if not paused and await _is_alive(child):
            answered, silent = loop.time(), 0
        else:
            silent += 1
    return f"did not answer for {child.spec.hung_seconds:g} s"


async def answers_http(host: str, port: int, path: str) -> bool:
    """Whether a server that listens on `host` of this machine answers at all; a refusal is an answer."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    try:
        reader, writer = await asyncio.open_connection(reachable(host), port)
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode())
            return (await reader.read(5)).startswith(b"HTTP")
        finally:
            writer.close()
    except OSError:
        return False


async def _is_alive(child: Child) -> bool:
    """A process that cannot be asked is taken for alive."""
    if child.spec.is_alive is None:
        return True
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await child.spec.is_alive()
    except TimeoutError:
        return False
