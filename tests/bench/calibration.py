"""How fast this machine is just now: two fixed pieces of work, without which no figure of another day can be compared.

Both are single-threaded and CPU time. The decode is that of an engine's whole answer, 300 ids with their logprobs.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from tests.bench.gateway_model import VOCABULARY
from tests.bench.responder import Replies

ANSWER_TOKENS = 300
ROUNDS, REPEATS = 25, 20


class Logprob(msgspec.Struct, array_like=True, gc=False):
    value: float
    token: int


class Meta(msgspec.Struct):
    completion_tokens: int
    output_token_logprobs: list[Logprob]


class Answer(msgspec.Struct):
    output_ids: list[int]
    meta_info: Meta


@dataclass(frozen=True, slots=True)
class Calibration:
    """Microseconds of CPU time; the median round."""

    python_us: float
    decode_us: float

    def __str__(self) -> str:
        return f"calibration: Python {self.python_us:.0f} µs, decode {self.decode_us:.1f} µs"


def calibrate() -> Calibration:
    """About a fifth of a second."""
    answer = Replies(ANSWER_TOKENS, VOCABULARY).whole.partition(b"\r\n\r\n")[2]
    decoder = msgspec.json.Decoder(Answer)
    return Calibration(_microseconds(pure_python), _microseconds(lambda: decoder.decode(answer)))


def pure_python() -> int:
    """Calls, attributes, dicts and strings, as a request handler has them."""
    seen: dict[str, int] = {}
    for place in range(1_000):
        name = f"key-{place % 97}"
        seen[name] = seen.get(name, 0) + len(name.split("-"))
    return sum(seen.values())


def _microseconds(work: Callable[[], object]) -> float:
    rounds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(REPEATS):
            work()
        rounds.append((time.process_time() - started) / REPEATS)
    return 1e6 * statistics.median(rounds)
