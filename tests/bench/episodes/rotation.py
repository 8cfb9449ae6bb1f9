"""Open episodes that take turns: what the next turn of one costs when the gateway has its history, and when it has to read it.

Episodes of NUM_TURNS turns are played, then measured a part at a time: a turn of each episode that the gateway may have
forgotten meanwhile, then at once another turn of the same episodes, whose histories are now known. After that the gateway
starts again, which has forgotten all of them, and both are measured once more. `rotation:10000` plays so many episodes, and
`rotation:1000:16` lets the gateway remember 16 MiB of them, so that few are enough to make it forget.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from rollout.tokenizer.tokenizer import Tokenizer
from tests.bench import bodies, load
from tests.bench.gateway import OUTPUT_TOKENS, WARM_UP, measure, recorded_reply
from tests.bench.gateway_model import write_gateway_model
from tests.bench.observations import observations
from tests.bench.stand import Target, gateway, responder
from tests.redis_server import running_redis

NUM_TURNS, PROMPT_TOKENS, OBSERVED_TOKENS = 20, 150, 60
NUM_EPISODES = 1_000
AT_ONCE = 128  # episodes that are played side by side, by 16 callers
MEASURED, PART = 1_000, 50  # of the episodes that were played first; a part fits into 5 MiB
MOST_RATIO, MOST_BYTES = 1.15, 10**9


@dataclass(frozen=True, slots=True)
class Figure:
    """CPU microseconds of one turn, and the gateway's memory after it."""

    what: str
    episodes: int
    cpu_us: float
    known_us: float
    resident_bytes: int
    bytes_per_token: float | None = (
        None  # of an open episode, beside what the gateway has without any
    )

    @property
    def ratio(self) -> float:
        return self.cpu_us / self.known_us


class Episodes:
    """Conversations that are equal but for their beginnings, so that only numbers need to be kept."""

    def __init__(self, target: Target, tokenizer: Tokenizer) -> None:
        reply = recorded_reply(target)
        self.first, *news = observations(tokenizer, NUM_TURNS + 4, PROMPT_TOKENS, OBSERVED_TOKENS)
        said = ([reply, {"role": "user", "content": text}] for text in news)
        self.rest = [message for pair in said for message in pair]
        self.num_tokens = (
            PROMPT_TOKENS + NUM_TURNS * (OUTPUT_TOKENS + OBSERVED_TOKENS) - OBSERVED_TOKENS
        )

    def requests(
        self, target: Target, episodes: Sequence[int], turns: Sequence[int]
    ) -> Iterator[bytes]:
        """A block of episodes after the other; within it a turn of each, then the next."""
        for start in range(0, len(episodes), AT_ONCE):
            for turn in turns:
                for place in episodes[start : start + AT_ONCE]:
                    yield self.request(target, place, turn)

    def request(self, target: Target, place: int, turn: int) -> bytes:
        first = {"role": "user", "content": f"Task {place}. {self.first}"}
        body = bodies.encoded([first, *self.rest[: 2 * (turn - 1)]], stream=False)
        headers = target.headers | {"x-turngate-episode": f"rotation-{place}"}
        return load.post(target.path, headers, body)

    def play(self, target: Target, episodes: Sequence[int], turns: Sequence[int]) -> float:
        """CPU microseconds of a turn."""
        before, count = target.cpu_seconds(), len(episodes) * len(turns)
        sent = self.requests(target, episodes, turns)
        result = load.run(target.port, sent, requests=count, concurrency=AT_ONCE // 8)
        assert result.failures == 0
        return 1e6 * (target.cpu_seconds() - before) / count

    def visit(self, target: Target, turn: int, num_episodes: int) -> tuple[float, float]:
        """CPU of a turn of the episodes that were left longest, and of the turn after it."""
        visited = range(min(MEASURED, num_episodes))
        taken = []
        for start in range(0, len(visited), PART):
            part = visited[start : start + PART]
            taken.append([self.play(target, part, (each,)) for each in (turn, turn + 1)])
        left, known = (sum(column) / len(taken) for column in zip(*taken, strict=True))
        return left, known


def run(num_episodes: str = str(NUM_EPISODES), history_mib: str = "") -> list[Figure]:
    count = int(num_episodes)
    limit = {"TURNGATE_GATEWAY_HISTORY_MEMORY_MIB": history_mib} if history_mib else {}
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tg-bench-")))
        write_gateway_model(directory)
        engine = stack.enter_context(responder(directory, OUTPUT_TOKENS))
        redis_url = stack.enter_context(running_redis(directory))
        tokenizer = Tokenizer.load(directory)
        with gateway(directory, redis_url, engine.port, **limit) as target:
            played = in_rotation(target, tokenizer, count)
        with gateway(directory, redis_url, engine.port, name="again", **limit) as target:
            return [played, after_a_restart(target, tokenizer, count)]


def in_rotation(target: Target, tokenizer: Tokenizer, count: int) -> Figure:
    measure(target, WARM_UP)
    episodes, before = Episodes(target, tokenizer), target.resident_bytes()
    episodes.play(target, range(count), range(1, NUM_TURNS + 1))
    grown = target.resident_bytes() - before
    left, known = episodes.visit(target, NUM_TURNS + 1, count)
    kept = grown / count / episodes.num_tokens
    return Figure("in rotation", count, left, known, target.resident_bytes(), kept)


def after_a_restart(target: Target, tokenizer: Tokenizer, count: int) -> Figure:
    measure(target, WARM_UP)
    read, known = Episodes(target, tokenizer).visit(target, NUM_TURNS + 3, count)
    return Figure("after a restart", count, read, known, target.resident_bytes())


def table(figures: Sequence[Figure]) -> Table:
    title = f"Open episodes of {NUM_TURNS} turns: CPU of the next turn, 16 callers"
    limits = f"limits: {MOST_RATIO} x, {MOST_BYTES / 1e9:.0f} GB"
    rows = Table(title=title, caption=limits)
    rows.add_column("what")
    for column in ("episodes", "CPU µs", "just seen", "ratio", "memory, MB", "bytes/token"):
        rows.add_column(column, justify="right")
    for figure in figures:
        rows.add_row(
            figure.what,
            f"{figure.episodes:,}",
            f"{figure.cpu_us:,.0f}",
            f"{figure.known_us:,.0f}",
            f"{figure.ratio:.2f}",
            f"{figure.resident_bytes / 1e6:,.0f}",
            f"{figure.bytes_per_token:.1f}" if figure.bytes_per_token is not None else "",
        )
    return rows
