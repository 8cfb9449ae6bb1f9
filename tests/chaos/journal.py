"""What the service has acknowledged, written down before the agent goes on; the end check holds the service to it."""

import json
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class AckedTurn:
    episode: str
    turn: str
    tokens: tuple[int, ...] | None  # None: a stream without ids


@dataclass(frozen=True, slots=True)
class AckedReward:
    episode: str
    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that the stock SDK gave up after its retries."""

    call: str  # what was called
    what: str  # status and code, or the exception
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
        self._write("turn", asdict(turn))

    def reward(self, reward: AckedReward) -> None:
        self.rewards.append(reward)
        self._write("reward", asdict(reward))

    def delete(self, episode: str) -> None:
        self.deleted.add(episode)
        self._write("delete", {"episode": episode})

    def failure(self, failure: Failure) -> None:
        self.failures.append(failure)
        self._write("failure", asdict(failure))

    def _write(self, kind: str, content: dict[str, object]) -> None:
        line = json.dumps({"at": time.time(), "kind": kind} | content)
        with self.file.open("a") as file:
            file.write(line + "\n")
