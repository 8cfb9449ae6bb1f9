"""What the service has acknowledged, written down before the agent goes on; the end check holds the service to it.

The file has the lines that `turngate audit --journal` reads.
"""

import hashlib
import json
import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class AckedTurn:
    episode: str
    turn: str
    tokens: tuple[int, ...]

    @property
    def digest(self) -> str:
        return hashlib.sha256(struct.pack(f"<{len(self.tokens)}i", *self.tokens)).hexdigest()


@dataclass(frozen=True, slots=True)
class AckedReward:
    episode: str
    name: str
    value: float
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that the stock SDK gave up after its retries."""

    call: str  # what was called
    what: str  # status and code, or the exception
    attempts: tuple[str, ...]  # the statuses of all its attempts
    begun: float
    ended: float
    has_retry_after: bool
    text: str = ""


@dataclass
class Journal:
    """In memory for the check, and in a file for a reader."""

    file: Path
    turns: list[AckedTurn] = field(default_factory=list)
    rewards: list[AckedReward] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)  # also those whose deletion may have arrived
    opened: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)

    def turn(self, turn: AckedTurn) -> None:
        self.turns.append(turn)
        self._write(episode_id=turn.episode, turn_id=turn.turn, tokens_sha256=turn.digest)

    def reward(self, reward: AckedReward) -> None:
        self.rewards.append(reward)
        self._write(
            episode_id=reward.episode,
            reward=reward.value,
            name=reward.name,
            idempotency_key=reward.idempotency_key,
        )

    def _write(self, **line: object) -> None:
        with self.file.open("a") as file:
            file.write(json.dumps(line) + "\n")
