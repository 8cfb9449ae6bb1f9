"""A key's limits, counted in Redis for all gateways: per minute in a sliding window, and calls at a time under leases.

A call is one script when it starts and one when it ends. The tokens of a running call are counted as the average of the
calls before it, so that many calls at once do not pass a limit together.
"""

from collections.abc import Sequence
from typing import cast

import msgspec

from rollout.store.transitions import Transitions, milliseconds

WINDOW_SECONDS = 60.0
LEASE_SECONDS = 10.0  # after which a killed gateway's calls are free


class CallLimits(msgspec.Struct, frozen=True):
    """What one call counts against; 0 is no limit."""

    key_id: str
    requests: int = 0
    tokens: int = 0
    concurrent: int = 0
    window_seconds: float = WINDOW_SECONDS


class StartedCall(msgspec.Struct, frozen=True):
    """The answer to a call that wants to start: what refuses it, if anything, and what is left of the limits."""

    refused_by: str  # requests, tokens, concurrent, or "" if it was counted
    retry_seconds: float
    requests_left: int
    requests_reset_seconds: float
    tokens_left: int
    tokens_reset_seconds: float
    expected_tokens: int
    slot: int


UNCOUNTED = StartedCall("", 0, 0, 0, 0, 0, 0, 0)  # a call without a limit that it counts against


class LimitTransitions(Transitions):
    """The transitions of keys' limits, which are read and written nowhere else."""

    async def start_call(
        self, limits: CallLimits, call_id: str, *, lease_seconds: float = LEASE_SECONDS
    ) -> StartedCall:
        """Count a call, or refuse it and count nothing."""
        reply = await self._run(
            "limit_start",
            *(limits.key_id, call_id, milliseconds(lease_seconds)),
            *(milliseconds(limits.window_seconds), limits.requests, limits.tokens),
            limits.concurrent,
        )
        refused, *numbers = cast("list[bytes]", reply)
        wait, requests, requests_reset, tokens, tokens_reset, expected, slot = map(int, numbers)
        return StartedCall(
            refused_by=refused.decode(),
            retry_seconds=wait / 1000,
            requests_left=requests,
            requests_reset_seconds=requests_reset / 1000,
            tokens_left=tokens,
            tokens_reset_seconds=tokens_reset / 1000,
            expected_tokens=expected,
            slot=slot,
        )

    async def end_call(
        self, limits: CallLimits, call_id: str, *, started: StartedCall, tokens: int
    ) -> None:
        """Free the call's place, and count the tokens that it used."""
        await self._run(
            "limit_end",
            *(limits.key_id, call_id, milliseconds(limits.window_seconds)),
            *(int(limits.tokens > 0), tokens, started.expected_tokens, started.slot),
        )

    async def renew_calls(
        self, calls: Sequence[tuple[str, str]], *, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        """Keep these (key, call) counted as running."""
        flat = [part for call in calls for part in call]
        await self._run("limit_renew", milliseconds(lease_seconds), *flat)

    async def use(
        self, kind: str, key_id: str, *, limit: int, window_seconds: float = WINDOW_SECONDS
    ) -> float:
        """Count one more of a kind; 0, or the seconds until there is room for it."""
        window = milliseconds(window_seconds)
        wait = cast("int", await self._run("limit_use", kind, key_id, window, limit))
        return wait / 1000
