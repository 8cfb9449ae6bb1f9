"""A key's limits, counted in Redis, so that all gateways together keep them. A key without limits costs nothing here.

A call is counted before it is answered and settled after it. A settlement that Redis does not receive is lost: the call's
place becomes free when its lease ends, and its tokens stay what was expected of it. A call that samples nothing uses none.
"""

import asyncio
import math
import secrets
from collections.abc import Callable
from contextlib import suppress

import msgspec
from starlette.types import Scope

from gateway.access.caller import Caller
from gateway.errors import TooMany
from rollout.errors import StoreError
from rollout.store.limit_transitions import (
    LEASE_SECONDS,
    UNCOUNTED,
    CallLimits,
    LimitTransitions,
    StartedCall,
)

RATE_LIMITS = "turngate.rate_limits"  # scope key: the headers that tell a caller its limits
RATE_LIMIT_HEADERS = tuple(
    f"x-ratelimit-{part}-{what}"
    for what in ("requests", "tokens")
    for part in ("limit", "remaining", "reset")
)
Header = tuple[bytes, bytes]
StoreOf = Callable[[str], LimitTransitions]


class Use(msgspec.Struct):
    """A call that is counted, and what it has used of its key's limits so far."""

    caller: Caller
    store: LimitTransitions
    limits: CallLimits
    call_id: str
    started: StartedCall
    tokens: int | None = 0  # of prompt and outputs; None, while a turn runs: those expected

    @property
    def headers(self) -> list[Header]:
        """OpenAI's headers for the limits that the key has."""
        started, headers = self.started, []
        if self.limits.requests:
            left, reset = started.requests_left, started.requests_reset_seconds
            headers += _headers(b"requests", self.limits.requests, left, reset)
        if self.limits.tokens:
            left, reset = started.tokens_left, started.tokens_reset_seconds
            headers += _headers(b"tokens", self.limits.tokens, left, reset)
        return headers

    async def count_grammar(self) -> None:
        """Count a call that samples under a grammar. Raises TooMany."""
        most = self.caller.limits.grammars_per_minute
        if most is None:
            return
        wait = await self.store.use("grammars", self.caller.key_id, limit=most)
        if wait:
            raise TooMany(f"this key may use {most} grammars a minute", retry_after=wait)


class Limits:
    """Counts the calls of limited keys."""

    def __init__(self, store_of: StoreOf) -> None:
        self._store_of = store_of
        self._running: dict[str, Use] = {}
        self._ended: asyncio.Queue[Use] = asyncio.Queue()

    async def start_model_call(self, caller: Caller, scope: Scope) -> Use:
        """Count a call that samples, until `end`. Raises TooMany."""
        own = caller.limits
        return await self._start(
            caller, scope, tokens=own.tokens_per_minute or 0, concurrent=own.max_concurrent or 0
        )

    async def count_request(self, caller: Caller, scope: Scope) -> None:
        """Count a call that samples nothing. Raises TooMany."""
        if caller.limits.requests_per_minute is not None:
            await self._start(caller, scope, tokens=0, concurrent=0)

    def end(self, use: Use) -> None:
        """Settle a call; nobody waits for it."""
        self._running.pop(use.call_id, None)
        if use.limits.tokens or use.limits.concurrent:
            self._ended.put_nowait(use)

    async def settle(self) -> None:
        """Settle calls as they end, until cancelled."""
        while True:
            ended = [await self._ended.get()]
            while not self._ended.empty():
                ended.append(self._ended.get_nowait())
            await asyncio.gather(*map(_settle, ended))

    async def renew(self) -> None:
        """Keep the leases of running calls, until cancelled."""
        while True:
            await asyncio.sleep(LEASE_SECONDS / 4)
            by_project: dict[str, list[tuple[str, str]]] = {}
            for use in self._running.values():
                pair = (use.caller.key_id, use.call_id)
                by_project.setdefault(use.caller.project, []).append(pair)
            for project, calls in by_project.items():
                with suppress(StoreError):
                    await self._store_of(project).renew_calls(calls)

    async def _start(self, caller: Caller, scope: Scope, *, tokens: int, concurrent: int) -> Use:
        store, call_id = self._store_of(caller.project), secrets.token_hex(8)
        limits = CallLimits(
            caller.key_id,
            requests=caller.limits.requests_per_minute or 0,
            tokens=tokens,
            concurrent=concurrent,
        )
        is_counted = limits.requests or tokens or concurrent
        started = (
            await store.start_call(limits, call_id if concurrent else "")
            if is_counted
            else UNCOUNTED
        )
        use = Use(caller, store, limits, call_id, started)
        scope[RATE_LIMITS] = use.headers
        if started.refused_by:
            raise _refusal(use)
        if concurrent:
            self._running[call_id] = use
        return use


async def _settle(use: Use) -> None:
    started = use.started
    tokens = started.expected_tokens if use.tokens is None else use.tokens
    with suppress(StoreError):
        await use.store.end_call(use.limits, use.call_id, started=started, tokens=tokens)


def _refusal(use: Use) -> TooMany:
    wait = math.ceil(use.started.retry_seconds)
    if use.started.refused_by == "concurrent":
        return TooMany(
            f"this key may run {use.limits.concurrent} calls at a time; wait for one to end",
            code="too_many_concurrent_requests",
            retry_after=wait,
        )
    what = use.started.refused_by
    most = use.limits.requests if what == "requests" else use.limits.tokens
    return TooMany(f"this key may use {most} {what} a minute", retry_after=wait)


def _headers(what: bytes, limit: int, left: int, reset_seconds: float) -> list[Header]:
    return [
        (b"x-ratelimit-limit-" + what, b"%d" % limit),
        (b"x-ratelimit-remaining-" + what, b"%d" % left),
        (b"x-ratelimit-reset-" + what, b"%gs" % round(reset_seconds, 2)),
    ]
