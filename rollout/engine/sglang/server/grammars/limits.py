"""What a grammar may cost."""

from dataclasses import dataclass

# Characters between two words of JSON: a model that is forced to write JSON may fill its whole output with spaces.
MAX_WHITESPACE = 8
TOO_SLOW = (
    "sampling a token under it takes too long; "
    "nest fewer repetitions and alternatives that match the same text"
)


@dataclass(frozen=True, slots=True)
class Limits:
    cpu_seconds: float = 1.0  # of one core, to compile it and to sample some tokens under it
    memory_bytes: int = 256 * 2**20
    token_seconds: float = 0.1  # for one token, for which every running call waits
    # For one token on average, if each takes longer than the one before.
    growing_token_seconds: float = 0.002
    num_walks: int = 2
    walk_tokens: int = 160
    walk_seconds: float = 0.2

    max_characters: int = 2**18
    short_characters: int = 2**13  # as most are
    max_short_running: int = 8
    max_long_running: int = 2
    wait_seconds: float = 10.0  # by the clock, the wait for a place included
    brief_seconds: float = 0.1  # of computing, after which a trial gives way to everything else
    max_remembered: int = 4096  # verdicts

    @property
    def too_much(self) -> str:
        return (
            f"it needs more than {self.cpu_seconds:g} s or {self.memory_bytes >> 20} MB to compile; "
            "make it smaller"
        )
