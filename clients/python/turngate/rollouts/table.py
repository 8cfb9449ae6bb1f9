"""What a run earned: one line for each row, and the attempts themselves."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from turngate.rollouts.attempt import Attempt


@dataclass(frozen=True, slots=True)
class Table:
    """The attempts of a run, in the order of the data set. `print(table)` shows it."""

    attempts: tuple[Attempt, ...]

    def __iter__(self) -> Iterator[Attempt]:
        return iter(self.attempts)

    def __len__(self) -> int:
        return len(self.attempts)

    @property
    def rewards(self) -> list[float]:
        return [attempt.reward for attempt in self.attempts if attempt.reward is not None]

    @property
    def mean_reward(self) -> float | None:
        rewards = self.rewards
        return sum(rewards) / len(rewards) if rewards else None

    @property
    def errors(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.error is not None]

    @property
    def by_row(self) -> dict[str, list[Attempt]]:
        rows: dict[str, list[Attempt]] = {}
        for attempt in self.attempts:
            rows.setdefault(attempt.row, []).append(attempt)
        return rows

    def write(self, path: str | Path) -> None:
        """As JSON Lines, an attempt a line."""
        lines = (json.dumps(asdict(attempt), ensure_ascii=False) for attempt in self.attempts)
        Path(path).write_text("".join(f"{line}\n" for line in lines))

    def __str__(self) -> str:
        lines = [
            ("row", "attempts", "mean", "min", "max", "errors"),
            *map(_line, self.by_row.items()),
        ]
        widths = [max(len(line[column]) for line in lines) for column in range(6)]
        shown = [
            "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))
            for line in lines
        ]
        mean = "none" if self.mean_reward is None else f"{self.mean_reward:.3f}"
        total = f"{len(self)} attempts, mean reward {mean}, {len(self.errors)} errors"
        return "\n".join([*shown, total])


def _line(entry: tuple[str, Sequence[Attempt]]) -> tuple[str, ...]:
    row, attempts = entry
    rewards = [attempt.reward for attempt in attempts if attempt.reward is not None]
    numbers = [sum(rewards) / len(rewards), min(rewards), max(rewards)] if rewards else []
    shown = [f"{number:.3f}" for number in numbers] or ["-"] * 3
    errors = sum(attempt.error is not None for attempt in attempts)
    return (row, str(len(attempts)), *shown, str(errors))
