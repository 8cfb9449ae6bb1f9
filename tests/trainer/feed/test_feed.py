"""When the feed waits, continues and releases groups; a real Redis, no learner."""

import logging
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry

from rollout.episode.episode_status import DiscardReason
from rollout.episode.group import Claim
from rollout.errors import Backlogged
from rollout.policies import Policy
from rollout.store.store import Store
from tests.redis_server import running_redis, spawn, wait_until_ready
from tests.trainer.bandit import play_uniformly
from trainer.async_bridge import AsyncBridge, Stopped
from trainer.batch.staleness import Beyond, StalenessRule
from trainer.feed.feed import MAX_REFUSALS, QUIET_SECONDS, Feed
from trainer.feed.replay_buffer import Order, ReplayBuffer
from trainer.ranks import Ranks
from trainer.telemetry.report import Report

GROUPS, GROUP_SIZE = 3, 2
SOON = (
    QUIET_SECONDS / 3
)  # what is announced takes far less; what is found by looking again takes longer
POLICY = Policy(0, "/nowhere/v00000000", None, "digest", 0)


@pytest.fixture
def bridge() -> Iterator[AsyncBridge]:
    with AsyncBridge.open() as bridge:
        yield bridge


@pytest.fixture
def store(redis_url: str, bridge: AsyncBridge) -> Iterator[Store]:
    store = Store.connect(redis_url, project=f"test-{uuid4().hex[:8]}")
    yield store
    bridge.call(store.close)


@pytest.fixture
def worker() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as worker:
        yield worker


def feed_of(
    store: Store,
    bridge: AsyncBridge,
    *,
    lease_seconds: float = 30.0,
    version: int = 0,
    most_replaced: int = 0,
    staleness: StalenessRule = StalenessRule(4),  # noqa: B008 - frozen
    groups_per_batch: int = GROUPS,
    buffer_groups: int = GROUPS,
    order: Order = "oldest",
) -> Feed:
    return Feed(
        store,
        bridge,
        Ranks(),
        groups_per_batch=groups_per_batch,
        staleness=staleness,
        buffer=ReplayBuffer(buffer_groups, order=order),
        lease_seconds=lease_seconds,
        version=version,
        report=Report(CollectorRegistry()),
        owner=f"trainer-{uuid4().hex[:8]}",
        most_replaced=most_replaced,
    )


def play(store: Store, bridge: AsyncBridge, groups: int = GROUPS, version: int = 0) -> None:
    bridge.call(play_uniformly, store, groups=groups, group_size=GROUP_SIZE, version=version)


class Notice(logging.Handler):
    """An event that is set when a certain line is logged."""

    def __init__(self, line: str) -> None:
        super().__init__()
        self.line, self.seen = line, threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == self.line:
            self.seen.set()


@contextmanager
def noticed(logger: str, line: str) -> Iterator[threading.Event]:
    notice = Notice(line)
    logging.getLogger(logger).addHandler(notice)
    try:
        yield notice.seen
    finally:
        logging.getLogger(logger).removeHandler(notice)


def take(feed: Feed) -> list[Claim] | None:
    """The next batch, or None if the feed ends."""
    return next(iter(feed), None)


def test_a_batch_is_whole(store: Store, bridge: AsyncBridge, worker: ThreadPoolExecutor) -> None:
    """The feed waits for as many groups as a batch has, and wakes when the last becomes ready."""
    batch = worker.submit(take, feed_of(store, bridge))
    for _ in range(GROUPS):
        play(store, bridge, groups=1)
    claims = batch.result(timeout=SOON)
    assert claims is not None
    assert len(claims) == GROUPS
    assert all(len(claim.episodes) == GROUP_SIZE for claim in claims)


def test_pause_holds_claims_and_resume_wakes(
    store: Store, bridge: AsyncBridge, worker: ThreadPoolExecutor
) -> None:
    """While training is paused nothing is claimed; resuming is noticed at once."""
    bridge.call(store.pause_training)
    play(store, bridge)
    batch = worker.submit(take, feed_of(store, bridge))
    assert bridge.call(store.totals).groups["claimed"] == 0
    bridge.call(store.resume_training)
    assert len(batch.result(timeout=SOON) or []) == GROUPS


def test_a_pin_holds_training_until_it_is_released(
    store: Store, bridge: AsyncBridge, worker: ThreadPoolExecutor
) -> None:
    """While an operator has pinned a policy nothing is claimed; the release is noticed at once."""
    bridge.call(store.record_policy, POLICY)
    bridge.call(store.pin, POLICY)
    play(store, bridge)
    batch = worker.submit(take, feed_of(store, bridge))
    assert bridge.call(store.totals).groups["claimed"] == 0
    bridge.call(store.unpin)
    assert len(batch.result(timeout=SOON) or []) == GROUPS


def test_stopping_ends_the_feed(
    store: Store, bridge: AsyncBridge, worker: ThreadPoolExecutor
) -> None:
    """A feed that waits ends as soon as the process is asked to stop."""
    batch: Future[list[Claim] | None] = worker.submit(take, feed_of(store, bridge))
    bridge.stop()
    assert batch.result(timeout=SOON) is None


def test_leases_are_renewed_while_training_takes_long(store: Store, bridge: AsyncBridge) -> None:
    """Longer than its lease after claiming, a trainer still holds its groups."""
    feed = feed_of(store, bridge, lease_seconds=0.3)
    play(store, bridge)
    with feed.open(max_live_episodes=0):
        claims = take(feed)
        assert claims is not None
        bridge.wait(1.0)
        again = bridge.call(
            partial(store.claim, "other", groups=9, version=0, max_staleness=4, lease_seconds=9)
        )
        assert again == []
        feed.ack(claims, POLICY)
    assert bridge.call(store.totals).trained == GROUPS * GROUP_SIZE


def test_a_group_lost_while_gathering_is_not_trained(
    store: Store, bridge: AsyncBridge, redis_url: str, worker: ThreadPoolExecutor
) -> None:
    """A lease that ran out while a batch was gathered is noticed, and the batch is made of other groups."""
    later = Store.connect(redis_url, project=store.project, clock=lambda: time.time() + 60)
    feed = feed_of(store, bridge, lease_seconds=0.6)
    play(store, bridge, groups=GROUPS - 1)
    with feed.open(max_live_episodes=0), noticed("trainer.feed", "lease lost") as is_noticed:
        batch = worker.submit(take, feed)
        while bridge.call(store.totals).groups["claimed"] < GROUPS - 1:
            bridge.wait(0.01)
        stolen = bridge.call(
            partial(later.claim, "other", groups=9, version=0, max_staleness=4, lease_seconds=60)
        )
        assert is_noticed.wait(SOON)
        play(store, bridge)
        claims = batch.result(timeout=SOON) or []
    bridge.call(later.close)
    assert len(stolen) == GROUPS - 1
    assert len(claims) == GROUPS
    assert not {claim.group_id for claim in claims} & {claim.group_id for claim in stolen}


def test_what_is_held_at_the_end_is_given_back(store: Store, bridge: AsyncBridge) -> None:
    """Leaving the feed returns its claims, and the delivery does not count."""
    feed = feed_of(store, bridge)
    play(store, bridge)
    with feed.open(max_live_episodes=7):
        take(feed)
    assert bridge.call(store.totals).groups == {"ready": GROUPS, "claimed": 0}
    assert bridge.call(store.training)["max_live_episodes"] == "7"
    claims = take(feed_of(store, bridge)) or []
    assert [claim.deliveries for claim in claims] == [1] * GROUPS


def test_a_group_is_refused_three_times_at_most(store: Store, bridge: AsyncBridge) -> None:
    """Data without a finite gradient is kept twice, then discarded as failed."""
    feed = feed_of(store, bridge)
    play(store, bridge)
    for _ in range(MAX_REFUSALS):
        claims = take(feed)
        assert claims is not None
        feed.refuse(claims)
    totals = bridge.call(store.totals)
    assert totals.discarded[DiscardReason.FAILED] == GROUPS * GROUP_SIZE
    assert totals.groups == {"ready": 0, "claimed": 0}


def test_stale_groups_are_passed_over(store: Store, bridge: AsyncBridge) -> None:
    """A group older than the limit when it is claimed is discarded as stale, the fresh ones train."""
    play(store, bridge, groups=2, version=1)
    play(store, bridge, version=9)
    claims = take(feed_of(store, bridge, version=10))
    assert claims is not None
    assert {episode.header.min_version for claim in claims for episode in claim.episodes} == {9}
    assert bridge.call(store.totals).discarded[DiscardReason.STALE] == 2 * GROUP_SIZE


def play_solved(store: Store, bridge: AsyncBridge, groups: int) -> None:
    """Groups in which all episodes succeed."""
    bridge.call(
        partial(play_uniformly, groups=groups, group_size=GROUP_SIZE, reward=lambda _: 1.0), store
    )


def test_dynamic_sampling_replaces_groups_of_equal_rewards(
    store: Store, bridge: AsyncBridge
) -> None:
    """Groups of equal rewards are discarded as no_signal, and the batch is made of later ones."""
    play_solved(store, bridge, groups=2)
    play(store, bridge)
    claims = take(feed_of(store, bridge, most_replaced=9)) or []
    assert len(claims) == GROUPS
    assert all(len({e.rewards.total for e in claim.episodes}) == 2 for claim in claims)
    assert bridge.call(store.totals).discarded[DiscardReason.NO_SIGNAL] == 2 * GROUP_SIZE


def test_a_solved_task_does_not_stall_training(store: Store, bridge: AsyncBridge) -> None:
    """Beyond the cap groups of equal rewards stay in the batch; the next batch may replace as many again."""
    feed = feed_of(store, bridge, most_replaced=2)
    for batches in (1, 2):
        play_solved(store, bridge, groups=GROUPS + 2)
        claims = take(feed) or []
        assert len(claims) == GROUPS
        feed.discard(claims, DiscardReason.FAILED)
        totals = bridge.call(store.totals)
        assert totals.discarded[DiscardReason.NO_SIGNAL] == batches * 2 * GROUP_SIZE


@pytest.mark.parametrize(("beyond", "trained"), [("drop", 1), ("mask", 3), ("down_weight", 4)])
def test_what_is_stale_is_judged_by_the_rule(
    store: Store, bridge: AsyncBridge, beyond: Beyond, trained: int
) -> None:
    """Dropping judges a group by its oldest token, masking by its newest; down-weighting lets every group train."""
    play(store, bridge, groups=1, version=1)
    mixed = partial(play_uniformly, group_size=GROUP_SIZE, version=1, last_version=9)
    bridge.call(partial(mixed, store, groups=2))
    play(store, bridge, groups=1, version=9)
    rule = StalenessRule(4, beyond)

    claims = take(
        feed_of(
            store, bridge, version=10, staleness=rule, groups_per_batch=trained, buffer_groups=4
        )
    )

    assert claims is not None
    assert len(claims) == trained
    assert bridge.call(store.totals).discarded[DiscardReason.STALE] == (4 - trained) * GROUP_SIZE


def test_a_buffer_is_judged_again_before_every_batch(store: Store, bridge: AsyncBridge) -> None:
    """A group that was fresh when claimed and became stale while others trained is discarded as stale."""
    play(store, bridge, groups=GROUPS + 2, version=0)
    feed = feed_of(store, bridge, staleness=StalenessRule(1), buffer_groups=GROUPS + 2)
    claims = take(feed)
    assert claims is not None
    feed.ack(claims, POLICY)
    feed.version = 2
    play(store, bridge, version=2)

    again = take(feed)

    assert again is not None
    assert not {claim.group_id for claim in again} & {claim.group_id for claim in claims}
    assert bridge.call(store.totals).discarded[DiscardReason.STALE] == 2 * GROUP_SIZE


def test_synchronous_training_admits_nothing_until_the_policy_is_served(
    store: Store, bridge: AsyncBridge
) -> None:
    """Between the claim of a batch and the next one, new groups are refused and open groups continue."""
    play(store, bridge)
    feed = feed_of(store, bridge, staleness=StalenessRule(0))
    with feed.open(max_live_episodes=GROUPS * GROUP_SIZE):
        claims = take(feed)
        assert claims is not None
        feed.ack(claims, POLICY)
        with pytest.raises(Backlogged):
            play(store, bridge)
        feed.version = 1
        threading.Timer(0.2, bridge.stop).start()
        assert take(feed) is None  # the next batch is being waited for
        play(store, bridge, version=1)


def test_a_redis_that_restarts_is_waited_for(
    bridge: AsyncBridge, worker: ThreadPoolExecutor
) -> None:
    """A call during an outage succeeds once Redis is back, with everything it had."""
    with tempfile.TemporaryDirectory(prefix="tg-redis-") as name:
        directory = Path(name)
        with running_redis(directory) as url:
            store = Store.connect(url, call_seconds=0.5)
            play(store, bridge)
        batch = worker.submit(take, feed_of(store, bridge))
        process = spawn(directory)
        try:
            wait_until_ready(directory)
            assert len(batch.result(timeout=30) or []) == GROUPS
        finally:
            bridge.call(store.close)
            process.terminate()
            process.wait(timeout=20)


def test_stopping_gives_up_on_an_absent_redis(bridge: AsyncBridge) -> None:
    """Without Redis a call waits, at most until the process is asked to stop."""
    store = Store.connect("redis://127.0.0.1:1/0", call_seconds=0.2)
    threading.Timer(0.3, bridge.stop).start()
    with pytest.raises(Stopped):
        bridge.call(store.totals)
    bridge.close(store.close)
