"""Training under kills, stalls and outages, with real processes, a Redis of its own and a real learner."""

import logging
import random
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil
import pytest
import redis

from rollout.ledger.ledger import Ledger
from rollout.policies import verify
from rollout.store.sharded.sharded_store import open_store
from rollout.store.store import Store
from tests.profiles import per_profile
from tests.redis_server import spawn, wait_until_ready
from tests.trainer.bandit import play_uniformly
from tests.trainer.trainer_lives import Lives, trainer_lives
from trainer.async_bridge import AsyncBridge

log = logging.getLogger("tests.kills")

pytestmark = pytest.mark.timeout(per_profile(ci=900, nightly=3600))

GROUPS, GROUP_SIZE = 2, 4
STALLED_BATCHES = 15
SOON_SECONDS = 30.0  # on a machine that runs other tests too; alone it is three
PROJECT = "kills"


@dataclass
class Place:
    """What a trainer needs, and what it leaves."""

    environment: dict[str, str]
    directory: Path
    redis_directory: Path
    bridge: AsyncBridge
    store: Store
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_redis(self) -> None:
        self.servers.append(spawn(self.redis_directory))
        wait_until_ready(self.redis_directory)

    def play(self, batches: int) -> None:
        self.bridge.call(play_uniformly, self.store, groups=batches * GROUPS, group_size=GROUP_SIZE)

    def trained(self) -> int:
        return self.bridge.call(self.store.totals).trained

    def published_and_kept(self) -> tuple[set[int], set[int]]:
        """The versions that were ever recorded with a step, and those in the lineage of the last one."""
        ledger = self.bridge.call(Ledger.open, self.environment["TURNGATE_DATABASE_URL"])
        parents = {p.version: p.parent for p in self.bridge.call(ledger.lineages, PROJECT)}
        self.bridge.call(ledger.close)
        waiting = self.bridge.call(self.store.published)
        parents |= {p.policy.version: p.policy.parent for p in waiting}
        kept, version = set(), max(parents)
        while version:
            kept.add(version)
            version = parents[version] or 0
        return set(parents) - {0}, kept


@pytest.fixture(params=per_profile(ci=(1,), nightly=(1, 3)), ids="shards-{}".format)
def place(request: pytest.FixtureRequest, model_dir: Path, tmp_path: Path) -> Iterator[Place]:
    with (
        tempfile.TemporaryDirectory(prefix="tg-redis-") as directory,
        AsyncBridge.open() as bridge,
    ):
        url = f"unix://{directory}/redis.sock"
        environment = {
            "TURNGATE_REDIS_URL": url,
            "TURNGATE_DATABASE_URL": f"sqlite:///{tmp_path}/ledger.db",
            "TURNGATE_MODEL_DIR": str(model_dir),
            "TURNGATE_WEIGHTS_DIR": str(tmp_path / "weights"),
            "TURNGATE_PROJECT": PROJECT,
            "TURNGATE_STORE_SHARDS": str(request.param),
            "TURNGATE_TRAINER_METRICS_PORT": "0",
            "TURNGATE_TRAINER_CHECKPOINT_DIR": str(tmp_path / "checkpoints"),
            "TURNGATE_TRAINER_GROUPS_PER_BATCH": str(GROUPS),
            "TURNGATE_TRAINER_GROUP_SIZE": str(GROUP_SIZE),
            "TURNGATE_TRAINER_MAX_STALENESS": "1000",
            "OMP_NUM_THREADS": "1",
        }
        store = open_store(url, project=PROJECT, num_shards=request.param)
        place = Place(environment, tmp_path, Path(directory), bridge, store)
        place.start_redis()
        yield place
        bridge.close(store.close)
        for server in place.servers:
            server.kill()
            server.wait(timeout=20)


@pytest.fixture
def lives(place: Place) -> Iterator[Lives]:
    with trainer_lives(place.environment, place.directory / "trainer.log") as lives:
        yield lives


def end(life_of: Lives) -> None:
    life = life_of.started[-1]
    life.terminate()
    ended = life_of.log.read_text
    deadline = time.monotonic() + 60
    while "exit code 0" not in ended():
        assert time.monotonic() < deadline, ended()[-5000:]
        time.sleep(0.02)


def suspend_outside_a_transaction(life: psutil.Process, ledger: Path) -> None:
    """A stopped process keeps the lock of a SQLite file, which then no other process can write."""
    while True:
        life.suspend()
        with closing(sqlite3.connect(ledger, timeout=0, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                life.resume()
                continue
            connection.execute("ROLLBACK")
            return


def test_kills_at_random_moments_cost_the_batch_in_hand(place: Place, lives: Lives) -> None:
    """Each published version is kept and has its restart point, nothing is trained twice, and the next step comes soon."""
    kills = per_profile(ci=6, nightly=60)
    seed = 20
    draw = random.Random(seed)
    batches = 4 * kills
    place.play(batches)
    gaps = []
    for _ in range(kills):
        started = time.monotonic()
        life = lives.start()
        lives.wait_for_another("step step=")
        gaps.append(time.monotonic() - started)
        time.sleep(draw.uniform(0, 0.8))
        life.kill()
    lives.start()
    lives.wait_for(lambda: place.trained() == batches * GROUPS * GROUP_SIZE)
    end(lives)
    published, kept = place.published_and_kept()
    log.info("kept %d of %d, seconds to a step %s", len(kept), len(published), gaps)
    assert kept == published
    assert len(kept) == batches
    assert median(gaps) < SOON_SECONDS
    totals = place.bridge.call(place.store.totals)
    assert totals.trained == totals.opened == batches * GROUPS * GROUP_SIZE
    recorded = place.bridge.call(place.store.policy)
    assert recorded is not None
    verify(recorded)


def test_services_that_are_away_are_waited_for(place: Place, lives: Lives) -> None:
    """Without SQL and disk at the start, then with a Redis that takes no writes and one that dies, one process trains everything."""
    ledger, weights = place.directory / "ledger.db", place.directory / "weights"
    ledger.mkdir()
    weights.touch()
    life = lives.start()
    for remedy in (ledger.rmdir, weights.unlink):
        lives.wait_for_another("waiting for a service")
        remedy()
    lives.wait_for_another("ready")
    place.play(8)
    lives.wait_for_another("step step=")
    url = place.environment["TURNGATE_REDIS_URL"]
    with redis.Redis.from_url(url) as client:
        client.config_set("min-replicas-to-write", 1)
        lives.wait_for_another("waiting for a service")
        client.config_set("min-replicas-to-write", 0)
        lives.wait_for_another("step step=")
    place.servers[0].kill()
    lives.wait_for_another("waiting for a service")
    place.start_redis()
    place.play(4)
    lives.wait_for(lambda: place.trained() == 12 * GROUPS * GROUP_SIZE)
    assert lives.is_alive(life)
    end(lives)
    published, kept = place.published_and_kept()
    assert kept == published


def test_a_trainer_that_was_stalled_can_do_no_harm(place: Place, lives: Lives) -> None:
    """Stopped in the middle, another takes its groups over at once; awake again, it acknowledges nothing and ends with code 2."""
    place.play(STALLED_BATCHES)
    stalled = lives.start()
    lives.wait_for_another("step step=")
    suspend_outside_a_transaction(stalled, place.directory / "ledger.db")
    lives.start()
    lives.wait_for_another("step step=")
    stalled.resume()
    lives.wait_for(lambda: "exit code 2" in lives.log.read_text())
    assert "superseded" in lives.log.read_text()
    lives.wait_for(lambda: place.trained() == STALLED_BATCHES * GROUPS * GROUP_SIZE)
    end(lives)
    published, kept = place.published_and_kept()
    assert kept == published
    assert len(kept) == STALLED_BATCHES
