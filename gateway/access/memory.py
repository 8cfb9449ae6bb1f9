"""What the ledger said about keys and projects, for as long as it may be believed without asking again.

While this gateway hears of changes, an entry is asked for again after a change, and every CONFIRM_SECONDS in case a change
was never announced. While Redis is away, it is asked for again every SECOND. While the ledger is away too, an entry stays
valid for OFFLINE_SECONDS after it was confirmed last: agents go on, and a new key has to wait.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

import msgspec

from rollout.errors import LedgerUnavailable

CONFIRM_SECONDS = 30.0
SECOND = 1.0  # within which every gateway hears of a change
OFFLINE_SECONDS = 900.0
MAX_ENTRIES = 16_384

Value = TypeVar("Value")


class Changes(Protocol):
    """How often the ledger's keys and projects were changed, and how old that number is."""

    revision: int

    @property
    def age_seconds(self) -> float: ...


class Entry(msgspec.Struct, Generic[Value]):
    value: Value
    revision: int  # of the changes, before the ledger was asked
    confirmed_at: float


class Memory(Generic[Value]):
    def __init__(self, changes: Changes, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._changes = changes
        self._clock = clock
        # The oldest entry of a plain dict takes longer to find the more were dropped before it.
        self._entries: OrderedDict[str, Entry[Value]] = OrderedDict()
        self._ask_again_at = 0.0  # not before then, after the ledger did not answer

    async def get(self, name: str, ask: Callable[[], Awaitable[Value | None]]) -> Value | None:
        """The value of this name; None if the ledger has none. Raises LedgerUnavailable."""
        known = self.current(name)
        if known is not None:
            return known
        entry = self._entries.get(name)
        revision, now = self._changes.revision, self._clock()
        try:
            value = await self._asked(entry, ask)
        except LedgerUnavailable:
            self._ask_again_at = now + SECOND
            if entry is None or now - entry.confirmed_at > OFFLINE_SECONDS:
                raise
            return entry.value
        self._entries.pop(name, None)
        if value is not None:
            self._entries[name] = Entry(value, revision, now)
            if len(self._entries) > MAX_ENTRIES:
                self._entries.popitem(last=False)
        return value

    def current(self, name: str) -> Value | None:
        """The value of this name, if there is no need to ask."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        age = self._clock() - entry.confirmed_at
        if self._changes.age_seconds > SECOND:
            return entry.value if age < SECOND else None
        is_current = entry.revision == self._changes.revision and age < CONFIRM_SECONDS
        return entry.value if is_current else None

    async def _asked(
        self, entry: Entry[Value] | None, ask: Callable[[], Awaitable[Value | None]]
    ) -> Value | None:
        """Ask; a caller that is known does not wait long for a database that hangs."""
        if entry is None:
            return await ask()
        if self._clock() < self._ask_again_at:
            raise LedgerUnavailable("it did not answer a moment ago")
        try:
            async with asyncio.timeout(SECOND):
                return await ask()
        except TimeoutError as error:
            raise LedgerUnavailable("no answer in time") from error
