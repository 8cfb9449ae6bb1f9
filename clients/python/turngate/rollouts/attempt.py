"""One member of one row's group, as it ended."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attempt:
    row: str
    member: int
    episode: str
    reward: float | None = None
    answer: str = ""
    error: str | None = None
    """What the agent raised; the episode is then completed as failed."""
    seconds: float = 0.0
    versions: tuple[int, ...] = ()
    """The policy versions that sampled it; known for evaluations only."""

    @property
    def key(self) -> tuple[str, int]:
        return self.row, self.member
