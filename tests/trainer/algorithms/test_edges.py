"""The public functions at the edges of what they may be given: poison where nothing was sampled, narrow numbers, empty rows, integers."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.trainer.rows import ADVANTAGES, BEHAVIOR, CURRENT, MASK, PROXIMAL, close, gradient
from trainer import algorithms

POISON = (float("nan"), float("inf"), -float("inf"), 1e4)
VALUES = torch.linspace(-1, 1, MASK.numel(), dtype=torch.float64).reshape(MASK.shape)

# Of logprobs, of the proximal and of the behavior policy, and advantages; each knows what was sampled.
MASKED: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "gspo": lambda c, o, _, a: algorithms.gspo(c, o, advantages=a, action_mask=MASK),
    "gspo_token": lambda c, o, _, a: algorithms.gspo_token(c, o, advantages=a, action_mask=MASK),
    "seq_tis": lambda _, o, b, __: algorithms.seq_tis(o, b, action_mask=MASK),
    "seq_mis": lambda _, o, b, __: algorithms.seq_mis(o, b, action_mask=MASK),
    "geo_mask": lambda _, o, b, __: algorithms.geo_mask(o, b, action_mask=MASK, low=0.1, high=9),
    "opsm": lambda c, _, b, a: algorithms.opsm(c, b, advantages=a, action_mask=MASK).double(),
    "m2po_mask": lambda c, _, b, __: algorithms.m2po_mask(c, b, action_mask=MASK).double(),
    "whiten": lambda _, __, ___, a: algorithms.whiten(a + VALUES, MASK),
    "discounted_returns": lambda _, __, ___, a: algorithms.discounted_returns(a, MASK, gamma=0.9),
    "gae": lambda _, o, __, a: algorithms.gae(a, o, action_mask=MASK, gamma=0.9, lam=0.8)[0],
    "gae_returns": lambda _, o, __, a: algorithms.gae(a, o, action_mask=MASK, gamma=0.9)[1],
    "reinforce_plus_plus": lambda _, __, ___, a: algorithms.reinforce_plus_plus(a, MASK),
    "effective_sample_size": lambda _, o, b, __: algorithms.effective_sample_size(o / b, MASK),
}


def poisoned(values: Tensor, poison: float) -> Tensor:
    return torch.where(MASK, values, poison)


@pytest.mark.parametrize("poison", POISON)
@pytest.mark.parametrize("name", MASKED)
def test_what_was_not_sampled_reaches_nothing(name: str, poison: float) -> None:
    """Whatever stands where the mask is 0, values and gradients are those of clean numbers, and finite everywhere."""
    of = MASKED[name]
    others = [poisoned(values, poison) for values in (PROXIMAL, BEHAVIOR, ADVANTAGES)]
    clean = of(CURRENT, PROXIMAL, BEHAVIOR, ADVANTAGES)

    found = of(poisoned(CURRENT, poison), *others)

    assert torch.isfinite(found).all()
    assert torch.equal(*(x[MASK] if x.shape == MASK.shape else x for x in (found, clean)))
    if name in {"gspo", "gspo_token"}:
        slopes = gradient(lambda x: of(x, *others), at=poisoned(CURRENT, poison))
        close(slopes, gradient(lambda x: of(x, PROXIMAL, BEHAVIOR, ADVANTAGES) * MASK))


NARROW: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "score_function": lambda c, _, a: algorithms.score_function(c, a),
    "ppo_clip": lambda c, o, a: algorithms.ppo_clip(c, o, advantages=a),
    "gspo": lambda c, o, a: algorithms.gspo(c, o, advantages=a, action_mask=MASK),
    "gspo_token": lambda c, o, a: algorithms.gspo_token(c, o, advantages=a, action_mask=MASK),
    "cispo": lambda c, o, a: algorithms.cispo(c, o, advantages=a),
    "sapo": lambda c, o, a: algorithms.sapo(c, o, advantages=a),
    "dppo_tv": lambda c, o, a: algorithms.dppo_tv(c, o, advantages=a, delta=0.01, penalty=0.1),
    "value_loss": lambda c, o, a: algorithms.value_loss(c, o, old_values=a),
    "entropy_bonus": lambda c, _, __: algorithms.entropy_bonus(c, coefficient=0.3),
    "k3": lambda c, o, _: algorithms.k3(c, o),
    "log_linear_proximal": lambda c, o, _: algorithms.log_linear_proximal(
        c, o, versions=torch.ones_like(MASK, dtype=torch.int64), training_version=4
    ),
    "whiten": lambda c, _, __: algorithms.whiten(c, MASK),
    "discounted_returns": lambda c, _, __: algorithms.discounted_returns(c, MASK, gamma=0.9),
    "gae": lambda c, o, _: algorithms.gae(c, o, action_mask=MASK, gamma=0.9, lam=0.9)[0],
    "terminal_rewards": lambda c, _, __: algorithms.terminal_rewards(c[:, 0], MASK),
    "turn_returns": lambda c, _, __: algorithms.turn_returns(
        c.reshape(-1), torch.zeros(MASK.numel(), dtype=torch.int64), gamma=0.9
    ),
    "reinforce": lambda c, _, __: algorithms.reinforce(c[0]),
    "shaped_rewards": lambda c, _, __: algorithms.shaped_rewards(c, scale=0.3),
    "penalized_rewards": lambda c, o, _: algorithms.penalized_rewards(c, o, beta=0.1),
    "rejection_sampling": lambda c, _, __: algorithms.rejection_sampling(c, threshold=-1.0),
    "grpo": lambda c, _, __: algorithms.grpo(
        c[0], torch.zeros(MASK.shape[1], dtype=torch.int64), epsilon=0.1
    ),
}


@pytest.mark.parametrize("name", NARROW)
def test_narrow_numbers_are_reckoned_with_in_float32(name: str) -> None:
    """Of bfloat16 a result is float32, and as close to that of the same numbers in float64 as float32 is."""
    of = NARROW[name]
    narrow = [values.bfloat16() for values in (CURRENT, PROXIMAL, ADVANTAGES)]

    found = of(*narrow)

    assert found.dtype == torch.float32
    expected = of(*(values.double() for values in narrow))
    torch.testing.assert_close(found.double(), expected, rtol=2e-6, atol=1e-6)


def test_integer_rewards_are_numbers() -> None:
    """Rewards of 0 and 1 given as integers are discounted, centered and scaled as such, not cut to integers."""
    wins, one = torch.tensor([1, 0, 1]), torch.zeros(3, dtype=torch.int64)

    assert algorithms.turn_returns(wins, one, gamma=0.5).tolist() == [1.25, 0.5, 1.0]
    assert algorithms.discounted_returns(wins, torch.ones(3), gamma=0.5).tolist() == [1.25, 0.5, 1]
    assert algorithms.dr_grpo(wins, one).tolist() == pytest.approx([1 / 3, -2 / 3, 1 / 3])
    assert algorithms.whiten(wins, torch.ones(3)).tolist() == pytest.approx(
        [0.5**0.5, -(2**0.5), 0.5**0.5], abs=1e-6
    )
    for of in (algorithms.reinforce, algorithms.rejection_sampling, algorithms.shaped_rewards):
        assert of(wins).dtype == torch.float32


def test_rows_without_tokens_keep_their_place() -> None:
    """Empty rows before, between and after others take their reward and their bootstrap and give nothing."""
    bounds, mask = torch.tensor([0, 0, 2, 2, 3, 3]), torch.tensor([True, False, True])
    rewards, values = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]), torch.zeros(3)

    spread = algorithms.terminal_rewards(rewards, mask, cu_seqlens=bounds)
    advantages, _ = algorithms.gae(
        values, values, action_mask=mask, bootstrap=rewards, cu_seqlens=bounds
    )

    assert spread.tolist() == advantages.tolist() == [2.0, 0.0, 4.0]
    nothing = torch.zeros(2, 0)
    assert algorithms.terminal_rewards(torch.ones(2), nothing.bool()).shape == (2, 0)
    assert algorithms.gae(nothing, nothing, action_mask=nothing, bootstrap=torch.ones(2))[
        0
    ].shape == (2, 0)


def test_no_rows_and_no_episodes_are_nothing() -> None:
    """Empty tensors in, empty tensors out."""
    rewards, ids = torch.zeros(0), torch.zeros(0, dtype=torch.int64)

    for of in (algorithms.grpo, algorithms.rloo, algorithms.lite_ppo, algorithms.best_of_group):
        assert of(rewards, ids).shape == (0,)
    for mode in (algorithms.token_mean, algorithms.seq_mean_token_mean):
        assert mode(rewards).shape == (0,)
    assert algorithms.gspo(rewards, rewards, advantages=rewards, action_mask=ids).shape == (0,)
    assert algorithms.m2po_mask(rewards, rewards, action_mask=ids).shape == (0,)


def test_without_a_cache_the_overlong_penalty_is_a_step() -> None:
    """With a cache of 0 nothing is taken up to the length itself, and everything after it."""
    lengths = torch.tensor([9, 10, 11])

    assert algorithms.soft_overlong(lengths, max_length=10, cache_length=0).tolist() == [0, 0, -1]


def test_the_baseline_of_reinforce_plus_plus_takes_rewards_and_groups() -> None:
    """r - mean_g of each row's episode on its sampled tokens, whitened over them all; two rows may be of one episode."""
    rewards, groups = torch.tensor([1.0, 0.0]), torch.tensor([4, 4])
    mask = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 1, 1]])

    found = algorithms.reinforce_plus_plus_baseline(
        rewards, groups, action_mask=mask, episodes=torch.tensor([0, 0, 1])
    )

    spread = torch.tensor([0.5, 0.5, -0.5])[:, None] * mask
    close(found, algorithms.whiten(spread, mask))
    alone = algorithms.reinforce_plus_plus_baseline(rewards, groups, action_mask=mask[[0, 2]])
    close(alone, algorithms.whiten(spread[[0, 2]], mask[[0, 2]]))
