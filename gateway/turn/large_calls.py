"""One large call at a time is read or attached, in a fair order, so that large calls stop nobody.

Keys take turns, whatever number of calls each has waiting. Small calls do not come here: the event loop serves all that are
ready between two pieces of a large call's work.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.errors import TooMany

LARGE_BYTES = 262_144  # of a body and the earlier replies it names; reading and attaching a smaller one takes a few milliseconds
MAX_WAITING = 64  # calls of one key, so that their bodies do not fill the memory


class LargeCalls:
    def __init__(self) -> None:
        self._is_busy = False
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, key_id: str) -> AsyncIterator[None]:
        """Wait for this key's turn, and hold it while the block runs. Raises TooMany."""
        if self._is_busy:
            await self._wait(key_id)
        self._is_busy = True
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, key_id: str) -> None:
        waiting = self._waiting.setdefault(key_id, deque())
        if len(waiting) >= MAX_WAITING:
            raise TooMany(
                f"{MAX_WAITING} large calls of this key are waiting already; wait for one to end",
                code="too_many_large_calls",
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Give the turn to the key that waits longest; the place stays taken in between."""
        while self._waiting:
            key_id, waiting = self._waiting.popitem(last=False)
            turn = waiting.popleft()
            if waiting:
                self._waiting[key_id] = waiting
            if not turn.done():
                turn.set_result(None)
                return
        self._is_busy = False
