"""What a turn costs beside an earlier state of this repository: both gateways run at once and are measured in turn.

`releases:COMMIT` names the earlier state; by default it is the last release, or BASELINE before there is one. Only the
gateway's code is the earlier one: bodies, engine, load and the Python environment are this checkout's.
"""

import contextlib
import statistics
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from rich.table import Table

from tests.bench.gateway import OUTPUT_TOKENS, WORKS, Work, compare
from tests.bench.gateway import Figure as Cost
from tests.bench.gateway_model import write_gateway_model
from tests.bench.stand import ROOT, Target, gateway, responder
from tests.redis_server import running_redis

BASELINE = "ebb1c1305556cbb2710e657469cb6b03a5654ff7"  # until there is a release
ROUNDS = 5


class NoHistory(LookupError):
    """The checkout does not hold the commit, as a shallow clone does not."""


@dataclass(frozen=True, slots=True)
class Figure:
    """CPU microseconds of one turn or stream then and now, and the median of the rounds' ratios."""

    work: str
    commit: str
    earlier_us: float
    now_us: float
    ratio: float
    earlier_store_us: float
    now_store_us: float
    store_ratio: float
    earlier_p50_ms: float
    now_p50_ms: float


def run(commit: str | None = None) -> list[Figure]:
    return beside(commit or earlier(), WORKS)


def earlier() -> str:
    """The newest release that leads to this state, or BASELINE."""
    found = _git("describe", "--tags", "--abbrev=0", check=False)
    return found.decode().strip() or BASELINE


def beside(commit: str, works: Sequence[Work], *, rounds: int = ROUNDS) -> list[Figure]:
    """NoHistory if the commit cannot be read."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tg-bench-")))
        code = directory / "earlier"
        extract(commit, code)
        write_gateway_model(directory)
        engine = stack.enter_context(responder(directory, OUTPUT_TOKENS))
        targets = [
            stack.enter_context(_served(directory, engine.port, name, tree))
            for name, tree in (("earlier", code), ("now", ROOT))
        ]
        costs = compare(targets, works, rounds=rounds)
        names = [target.name for target in targets]
        return [_figure(commit, *(costs[work.name, name] for name in names)) for work in works]


def extract(commit: str, directory: Path) -> None:
    """Write the files of a commit into a new directory."""
    try:
        archive = _git("archive", "--format=tar", commit)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode().strip()
        raise NoHistory(f"{commit} cannot be read; fetch the whole history: {said}") from error
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(directory, filter="data")


@contextlib.contextmanager
def _served(model_dir: Path, engine_port: int, name: str, code: Path) -> Iterator[Target]:
    """A gateway with a Redis and a ledger of its own."""
    directory = model_dir / f"{name}-data"
    directory.mkdir()
    with running_redis(directory) as redis_url:
        own = {"TURNGATE_DATABASE_URL": f"sqlite+aiosqlite:///{directory}/ledger.db"}
        with gateway(model_dir, redis_url, engine_port, name=name, code=code, **own) as target:
            yield target


def _figure(commit: str, earlier: Sequence[Cost], now: Sequence[Cost]) -> Figure:
    pairs = list(zip(earlier, now, strict=True))
    return Figure(
        work=now[0].work,
        commit=commit,
        earlier_us=statistics.median(cost.cpu_us for cost in earlier),
        now_us=statistics.median(cost.cpu_us for cost in now),
        ratio=statistics.median(after.cpu_us / before.cpu_us for before, after in pairs),
        earlier_store_us=statistics.median(cost.store_us for cost in earlier),
        now_store_us=statistics.median(cost.store_us for cost in now),
        store_ratio=statistics.median(after.store_us / before.store_us for before, after in pairs),
        earlier_p50_ms=statistics.median(cost.p50_ms for cost in earlier),
        now_p50_ms=statistics.median(cost.p50_ms for cost in now),
    )


def _git(*arguments: str, check: bool = True) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=check, capture_output=True)
    return done.stdout


def table(figures: Sequence[Figure]) -> Table:
    title = f"CPU time of one turn or stream beside {figures[0].commit[:12]}, in turn"
    rows = Table(title=title, caption="a ratio is the median of the rounds' ratios")
    rows.add_column("work")
    columns = ("µs then", "now", "ratio", "Redis µs then", "now", "ratio", "p50 ms then", "now")
    for column in columns:
        rows.add_column(column, justify="right")
    for figure in figures:
        rows.add_row(
            figure.work,
            f"{figure.earlier_us:,.0f}",
            f"{figure.now_us:,.0f}",
            f"{figure.ratio:.2f}",
            f"{figure.earlier_store_us:,.0f}",
            f"{figure.now_store_us:,.0f}",
            f"{figure.store_ratio:.2f}",
            f"{figure.earlier_p50_ms:.1f}",
            f"{figure.now_p50_ms:.1f}",
        )
    return rows
