"""One engine as the pool sees it: whether it answers, what it serves, how many calls it has."""

import hashlib
import logging

import msgspec

from rollout.engine.engine import Engine
from rollout.served_model import AskedModel, ServedModel

OUTDATED_SECONDS = 30.0  # a swap takes less; an engine that is outdated for longer failed to swap

MASK = 2**64 - 1

log = logging.getLogger(__name__)


class EngineState(msgspec.Struct, frozen=True):
    """What the pool knows about an engine."""

    url: str
    is_up: bool
    in_flight: int
    model: ServedModel | None
    why_down: str | None

    @property
    def policy_version(self) -> int | None:
        return None if self.model is None else self.model.version


class Member:
    """Begins as if it had died, because an engine that already runs may serve anything."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.seed = stable_hash(engine.url)
        self.in_flight = 0
        self.timeouts = 0
        self.model: ServedModel | None = None
        self.why_down: str | None = "not probed yet"
        self.must_be_current = True
        self.outdated_since: float | None = None

    @property
    def is_up(self) -> bool:
        return self.why_down is None and not self.must_be_current

    def needs_swap(self, now: float) -> bool:
        """It answers, and no running swap will bring it to the recorded policy."""
        return self.why_down is None and (self.must_be_current or self.is_stuck(now))

    def is_stuck(self, now: float) -> bool:
        """Outdated for longer than a swap takes."""
        return self.outdated_since is not None and now - self.outdated_since > OUTDATED_SECONDS

    def lose(self, why: str) -> None:
        """It died; what it serves when it comes back is unknown."""
        if self.why_down is None:
            log.warning("engine down", extra={"engine": self.engine.url, "why": why})
        self.why_down = why
        self.must_be_current = True

    def serves(self, asked: AskedModel) -> bool:
        return self.model is not None and asked.is_met_by(self.model)

    def answered(self, model: ServedModel, *, recorded: ServedModel | None, now: float) -> None:
        """It serves `model`; one that is newer than the recorded one is being published."""
        was_up, self.why_down, self.timeouts, self.model = self.is_up, None, 0, model
        is_current = recorded is None or model == recorded
        if is_current or (recorded is not None and model.is_newer_than(recorded)):
            self.must_be_current = False
        if is_current:
            self.outdated_since = None
        elif self.outdated_since is None:
            self.outdated_since = now
        if self.is_up and not was_up:
            log.info(
                "engine up", extra={"engine": self.engine.url, "policy_version": model.version}
            )

    def rank(self, key: int) -> int:
        """Its place in the key's own order of engines, the same in every process (splitmix64's finisher)."""
        mixed = ((key ^ self.seed) * 0xBF58476D1CE4E5B9) & MASK
        mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & MASK
        return mixed ^ mixed >> 31


def stable_hash(text: str) -> int:
    """The same number in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
