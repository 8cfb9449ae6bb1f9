"""Any interleaving of the store's transitions agrees with a plain-Python model, and the totals always add up."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.profiles import examples, per_profile
from tests.redis_server import KillableRedis
from tests.rollout.store.machine.agent_rules import AgentRules
from tests.rollout.store.machine.crashes import Crashes
from tests.rollout.store.machine.invariants import Invariants
from tests.rollout.store.machine.repeat_rules import RepeatRules
from tests.rollout.store.machine.trainer_rules import TrainerRules
from tests.rollout.store.machine.upkeep_rules import UpkeepRules


class StoreMachine(AgentRules, RepeatRules, TrainerRules, UpkeepRules, Invariants):
    """Everybody's calls, in any order."""


class ShardedMachine(StoreMachine):
    """In three shards, with places for all: shards share the limit only roughly."""

    num_shards = 3
    limit = share = 10**6


class CrashingMachine(Crashes, StoreMachine):
    """The same, with a crash between any two calls and in the middle of any."""


def test_any_interleaving_agrees_with_the_model(redis_url: str) -> None:
    """After every transition the store's statuses, groups, deadlines, outbox and totals equal the model's."""
    run_state_machine_as_test(
        lambda: StoreMachine(redis_url),
        settings=settings(examples(0.4), stateful_step_count=40),
    )


def test_any_interleaving_in_three_shards_agrees_with_the_model(redis_url: str) -> None:
    """Whichever shards the episodes, groups and sessions of a project lie in, the whole equals the same model."""
    run_state_machine_as_test(
        lambda: ShardedMachine(redis_url),
        settings=settings(max_examples=per_profile(ci=4, nightly=200), stateful_step_count=40),
    )


@pytest.fixture
def server() -> Iterator[KillableRedis]:
    with tempfile.TemporaryDirectory(prefix="tg-redis-") as directory:
        server = KillableRedis(Path(directory))
        yield server
        server.kill()


class ShardedCrashingMachine(Crashes, ShardedMachine):
    """A crash may come between two shards, too."""


def test_a_crash_between_two_shards_loses_nothing(server: KillableRedis) -> None:
    """What several shards record together happens once, wherever it was interrupted, if its caller repeats it."""
    run_state_machine_as_test(
        lambda: ShardedCrashingMachine(server),
        settings=settings(max_examples=per_profile(ci=1, nightly=200), stateful_step_count=30),
    )


def test_a_crash_between_any_two_calls_loses_nothing(server: KillableRedis) -> None:
    """The store equals the model after each crash, and a call that is repeated because its answer was lost has one effect."""
    run_state_machine_as_test(
        lambda: CrashingMachine(server),
        settings=settings(max_examples=per_profile(ci=5, nightly=200), stateful_step_count=30),
    )
