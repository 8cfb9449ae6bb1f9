"""A key's limits, kept per gateway: requests a minute, as a token bucket, and requests at the same time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gateway.access.caller import NO_LIMITS, Caller
from gateway.errors import TooMany

_CONCURRENCY_RETRY_SECONDS = 1.0


class _Use:
    """The running requests of one key, and how many more it may start now."""

    __slots__ = ("allowance", "num_running", "refilled_at")

    def __init__(self, allowance: float, now: float) -> None:
        self.num_running = 0
        self.allowance = allowance
        self.refilled_at = now


class Limits:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._uses: dict[str, _Use] = {}

    @contextmanager
    def hold(self, caller: Caller) -> Iterator[None]:
        """Count a request against the caller's key while it runs."""
        if caller.limits == NO_LIMITS:
            yield
            return
        use = self._use(caller)
        self._check(caller, use)
        use.num_running += 1
        try:
            yield
        finally:
            use.num_running -= 1

    def _use(self, caller: Caller) -> _Use:
        now, per_minute = self._clock(), caller.limits.requests_per_minute or 0
        use = self._uses.get(caller.key_id)
        if use is None:
            use = self._uses[caller.key_id] = _Use(per_minute, now)
        refill = (now - use.refilled_at) * per_minute / 60
        use.allowance = min(per_minute, use.allowance + refill)
        use.refilled_at = now
        return use

    def _check(self, caller: Caller, use: _Use) -> None:
        most = caller.limits.max_concurrent
        if most is not None and use.num_running >= most:
            raise TooMany(
                f"this key may run {most} requests at a time; wait for one to end",
                code="too_many_concurrent_requests",
                retry_after=_CONCURRENCY_RETRY_SECONDS,
            )
        if caller.limits.requests_per_minute is not None:
            if use.allowance < 1:
                seconds = (1 - use.allowance) * 60 / caller.limits.requests_per_minute
                raise TooMany(
                    f"this key may make {caller.limits.requests_per_minute} requests a minute",
                    retry_after=seconds,
                )
            use.allowance -= 1
