"""One engine as the pool sees it: whether it answers, what it serves, how many calls it has."""

import hashlib
import logging

import msgspec

from rollout.engine.sglang.control_path import EngineControl
from rollout.engine.sglang.data_path import Engine

BEHIND_SECONDS = 30.0  # a swap takes less; an engine that is behind for longer failed to swap

MASK = 2**64 - 1

log = logging.getLogger(__name__)


class EngineState(msgspec.Struct, frozen=True):
    """What the pool knows about an engine."""

    url: str
    is_up: bool
    in_flight: int
    policy_version: int | None
    why_down: str | None


class Member:
    """Starts out as if it had died: an engine found at start may serve anything."""

    def __init__(self, engine: Engine, control: EngineControl) -> None:
        self.engine = engine
        self.control = control
        self.seed = stable_hash(engine.url)
        self.in_flight = 0
        self.timeouts = 0
        self.policy_version: int | None = None
        self.why_down: str | None = "not probed yet"
        self.must_catch_up = True
        self.behind_since: float | None = None
        self.is_removed = False

    @property
    def is_up(self) -> bool:
        return self.why_down is None and not self.must_catch_up

    def needs_swap(self, now: float) -> bool:
        """It answers, and no swap under way will bring it to the recorded policy."""
        return self.why_down is None and (self.must_catch_up or self.is_stuck(now))

    def is_stuck(self, now: float) -> bool:
        """Behind for longer than a swap takes."""
        return self.behind_since is not None and now - self.behind_since > BEHIND_SECONDS

    def lose(self, why: str) -> None:
        """It died; what it serves when it comes back is unknown."""
        if self.why_down is None:
            log.warning("engine down", extra={"engine": self.engine.url, "why": why})
        self.why_down = why
        self.must_catch_up = True

    def find(self, version: int, *, recorded: int | None, now: float) -> None:
        """It answered, serving `version`; a higher one than recorded is being published."""
        was_up, self.why_down, self.timeouts, self.policy_version = self.is_up, None, 0, version
        if recorded is None or version >= recorded:
            self.must_catch_up = False
        if recorded is None or version == recorded:
            self.behind_since = None
        elif self.behind_since is None:
            self.behind_since = now
        if self.is_up and not was_up:
            log.info("engine up", extra={"engine": self.engine.url, "policy_version": version})

    def rank(self, key: int) -> int:
        """Its place in the key's own order of engines, the same in every process (splitmix64's finisher)."""
        mixed = ((key ^ self.seed) * 0xBF58476D1CE4E5B9) & MASK
        mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & MASK
        return mixed ^ mixed >> 31

    async def close(self) -> None:
        await self.engine.close()
        await self.control.close()


def stable_hash(text: str) -> int:
    """The same number in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
