"""Advantages against slow float64 references written from the papers."""

import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.algorithms import (
    RunningBaseline,
    best_of_group,
    dr_grpo,
    dynamic_sampling,
    gigpo,
    grpo,
    lite_ppo,
    max_rl,
    reinforce,
    rejection_sampling,
    rloo,
    soft_overlong,
    turn_returns,
)

rewards_and_groups = st.lists(
    st.tuples(st.sampled_from([-1.0, 0.0, 0.1, 0.5, 1.0, 2.5]), st.integers(0, 3)),
    min_size=1,
    max_size=24,
)


def tensors(episodes: list[tuple[float, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    rewards, groups = zip(*episodes, strict=True)
    return torch.tensor(rewards, dtype=torch.float64), torch.tensor(groups)


def members(episodes: list[tuple[float, int]], group: int) -> list[float]:
    return [reward for reward, its_group in episodes if its_group == group]


def reference_grpo(episodes: list[tuple[float, int]]) -> list[float]:
    result = []
    for reward, group in episodes:
        peers = members(episodes, group)
        differ = max(peers) - min(peers) > 0
        result.append(
            (reward - statistics.fmean(peers)) / (statistics.stdev(peers) + 1e-6) if differ else 0.0
        )
    return result


@given(rewards_and_groups)
def test_grpo_is_the_papers_formula(episodes: list[tuple[float, int]]) -> None:
    """GRPO equals a float64 reference with ddof 1, and groups without spread are exactly 0."""
    expected = torch.tensor(reference_grpo(episodes), dtype=torch.float64)
    result = grpo(*tensors(episodes))
    torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-12)
    alike = torch.tensor([len(set(members(episodes, group))) == 1 for _, group in episodes])
    assert not result[alike].any()


@given(rewards_and_groups)
def test_rloo_compares_with_the_others(episodes: list[tuple[float, int]]) -> None:
    """RLOO is the reward less the mean of the other members, and n / (n - 1) times Dr.GRPO."""
    rewards, groups = tensors(episodes)
    expected = []
    for index, (reward, group) in enumerate(episodes):
        others = [r for i, (r, g) in enumerate(episodes) if g == group and i != index]
        expected.append(reward - statistics.fmean(others) if others else 0.0)
    torch.testing.assert_close(
        rloo(rewards, groups), torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12
    )
    counts = torch.tensor([len(members(episodes, group)) for _, group in episodes]).double()
    scaled = counts / (counts - 1).clamp(min=1) * dr_grpo(rewards, groups)
    torch.testing.assert_close(rloo(rewards, groups), scaled)


@given(rewards_and_groups)
def test_group_advantages_sum_to_zero(episodes: list[tuple[float, int]]) -> None:
    """Within each group the advantages of GRPO, Dr.GRPO and RLOO cancel."""
    rewards, groups = tensors(episodes)
    for advantages in (grpo(rewards, groups), dr_grpo(rewards, groups), rloo(rewards, groups)):
        for group in groups.unique():
            assert abs(float(advantages[groups == group].sum())) < 1e-9


@given(rewards_and_groups, st.floats(0.5, 20), st.floats(-5, 5))
def test_grpo_ignores_scale_and_shift(
    episodes: list[tuple[float, int]], scale: float, shift: float
) -> None:
    """GRPO(a r + b) = GRPO(r) up to epsilon."""
    rewards, groups = tensors(episodes)
    torch.testing.assert_close(
        grpo(scale * rewards + shift, groups), grpo(rewards, groups), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(("value", "count"), [(0.1, 7), (0.9, 12), (1e6, 8), (0.0, 3)])
def test_a_constant_group_teaches_nothing(value: float, count: int) -> None:
    """Equal rewards give advantages of exactly 0 in float32, where their deviation does not vanish."""
    rewards, groups = torch.full((count,), value), torch.zeros(count, dtype=torch.int64)
    for function in (grpo, dr_grpo, rloo, max_rl, lite_ppo):
        assert torch.equal(function(rewards, groups), torch.zeros(count))
    assert not dynamic_sampling(rewards, groups).any()


def test_a_missing_reward_is_not_a_zero() -> None:
    """An episode without a reward changes nobody's advantage and has none itself."""
    groups = torch.zeros(4, dtype=torch.int64)
    result = grpo(torch.tensor([1.0, 0.0, math.nan, 1.0]), groups)
    expected = grpo(torch.tensor([1.0, 0.0, 1.0]), groups[:3])
    assert torch.equal(
        result, torch.stack([expected[0], expected[1], torch.tensor(0.0), expected[2]])
    )
    assert torch.equal(reinforce(torch.tensor([math.nan, 2.0])), torch.tensor([0.0, 2.0]))


def test_lite_ppo_divides_by_the_batch() -> None:
    """LitePPO centers on the group and scales by the deviation of all raw rewards."""
    rewards, groups = torch.tensor([1.0, 0.0, 3.0, 1.0]).double(), torch.tensor([0, 0, 1, 1])
    std = statistics.stdev([1.0, 0.0, 3.0, 1.0]) + 1e-6
    expected = torch.tensor([0.5, -0.5, 1.0, -1.0]).double() / std
    torch.testing.assert_close(lite_ppo(rewards, groups), expected)


def test_max_rl_divides_by_the_mean() -> None:
    """MaxRL weighs a success by how rare it is in its group."""
    result = max_rl(torch.tensor([1.0, 0.0, 0.0, 0.0]).double(), torch.zeros(4).long())
    torch.testing.assert_close(
        result, torch.tensor([3.0, -1.0, -1.0, -1.0]).double(), rtol=1e-5, atol=0
    )


def test_a_group_of_one_is_compared_with_what_came_before() -> None:
    """Against a history of mean 0.25 a reward of 1 is good and one of 0 is bad, in units of the deviation."""
    history = RunningBaseline().after(torch.tensor([0.0, 0.0, 0.0, 1.0]), decay=1.0)
    good, bad = (history.advantages(torch.tensor([r])).item() for r in (1.0, 0.0))
    after = statistics.pstdev([0.0, 0.0, 0.0, 1.0, 1.0])
    assert good == pytest.approx(0.75 / after, rel=1e-5)
    assert bad < 0


def test_groups_of_one_are_compared_with_each_other() -> None:
    """Without a history each single reward is measured against the others of its batch, never itself."""
    result = RunningBaseline().advantages(torch.tensor([1.0, 0.0, 0.0]))
    deviation = statistics.pstdev([1.0, 0.0, 0.0])
    torch.testing.assert_close(
        result, torch.tensor([1.0, -0.5, -0.5]) / deviation, rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_a_constant_single_reward_teaches_nothing(value: float) -> None:
    """The same reward again and again gives exactly 0, from the first one on."""
    baseline = RunningBaseline()
    for _ in range(300):
        reward = torch.tensor([value])
        assert torch.equal(baseline.advantages(reward), torch.zeros(1))
        baseline = baseline.after(reward)


def test_the_baseline_forgets() -> None:
    """After a few hundred rewards of 1 a history of zeros hardly counts."""
    baseline = RunningBaseline().after(torch.zeros(100))
    for _ in range(60):
        baseline = baseline.after(torch.ones(8))
    assert baseline.mean > 0.98
    assert baseline.weight == pytest.approx(8 / (1 - 0.99**8), rel=0.01)


def test_no_single_groups_leave_the_baseline_alone() -> None:
    """A batch without groups of one does not age the baseline."""
    baseline = RunningBaseline().after(torch.tensor([1.0, 0.0]))
    assert baseline.after(torch.zeros(0)) == baseline


def test_turn_returns_stay_within_their_episode() -> None:
    """Discounted returns run backwards through each episode's turns alone."""
    rewards, episodes = torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([0, 0, 1, 0])
    result = turn_returns(rewards, episodes, gamma=0.5)
    assert torch.equal(result, torch.tensor([1 + 0.5 * 2 + 0.25 * 8, 2 + 0.5 * 8, 4.0, 8.0]))


def test_gigpo_compares_visits_to_one_state() -> None:
    """Turns in the same state of the same group are compared; a state visited once adds nothing."""
    result = gigpo(
        torch.tensor([0.5, 0.5, -0.5]),
        torch.tensor([0.0, 1.0, 0.0]),
        episodes=torch.tensor([0, 0, 1]),
        groups=torch.tensor([0, 0, 0]),
        states=torch.tensor([7, 8, 7]),
        gamma=0.5,
        omega=2.0,
    )
    assert torch.equal(result, torch.tensor([0.5 + 2 * 0.25, 0.5, -0.5 - 2 * 0.25]))


def test_soft_overlong_falls_linearly() -> None:
    """No penalty up to max - cache, -1 at max, in between a straight line (DAPO)."""
    result = soft_overlong(torch.tensor([10, 80, 90, 100, 500]), max_length=100, cache_length=20)
    assert torch.equal(result, torch.tensor([0.0, 0.0, -0.5, -1.0, -1.0]))


def test_what_passed_is_imitated() -> None:
    """Rewards above the threshold get 1, those at it, below it or missing get 0."""
    result = rejection_sampling(torch.tensor([0.5, 0.6, -1.0, math.nan]), threshold=0.5)
    assert result.tolist() == [0.0, 1.0, 0.0, 0.0]


@given(rewards_and_groups)
def test_the_best_of_a_group_is_imitated(episodes: list[tuple[float, int]]) -> None:
    """The highest reward of a group gets 1, also where several have it; a group that agrees gets 0."""
    expected = [
        float(reward == max(peers) > min(peers))
        for reward, peers in ((r, members(episodes, group)) for r, group in episodes)
    ]
    assert best_of_group(*tensors(episodes)).tolist() == expected
