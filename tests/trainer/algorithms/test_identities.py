"""What must hold whatever the numbers: packed is padded, slopes are gradients, on-policy all losses agree."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.rows import (
    ADVANTAGES,
    BEHAVIOR,
    CURRENT,
    MASK,
    PACKED,
    PROXIMAL,
    ROWS,
    SLOTS,
    close,
    gradient,
    random,
)
from trainer import algorithms
from trainer.algorithms.ratio import ratio

KEPT = algorithms.m2po_mask(CURRENT, BEHAVIOR, action_mask=MASK, threshold=0.05)
KNOWS_ROWS: dict[str, Callable[..., Tensor]] = {
    "seq_mean_token_mean": algorithms.seq_mean_token_mean,
    "seq_mean_token_sum": algorithms.seq_mean_token_sum,
    "drgrpo": lambda m, **rows: algorithms.drgrpo(m, generation_budget=9, **rows),
    "prompt_mean": lambda m, **rows: algorithms.prompt_mean(m, torch.tensor([7, 3]), **rows),
    "traj_mean_token_mean": lambda m, **rows: algorithms.traj_mean_token_mean(
        m, torch.tensor([5, 5]), **rows
    ),
}
ACTS_ON_ROWS: dict[str, Callable[..., Tensor]] = {
    "gspo": algorithms.gspo,
    "gspo_token": algorithms.gspo_token,
    "opsm": algorithms.opsm,
    "seq_tis": algorithms.seq_tis,
    "seq_mis": algorithms.seq_mis,
    "geo_mask": lambda p, b, **rows: algorithms.geo_mask(p, b, low=0.9, high=1.1, **rows),
}
TAKES_ADVANTAGES = {"gspo", "gspo_token", "opsm"}
REACHES_BACK: dict[str, Callable[..., Tensor]] = {
    "discounted_returns": lambda r, m, **rows: algorithms.discounted_returns(
        r, m, gamma=0.9, **rows
    ),
    "reinforce_plus_plus": lambda r, m, **rows: algorithms.reinforce_plus_plus(
        r, m, gamma=0.9, **rows
    ),
    "gae": lambda r, m, **rows: algorithms.gae(
        r, 0.3 * r, action_mask=m, gamma=0.9, lam=0.7, **rows
    )[0],
    "terminal_rewards": lambda r, m, **rows: algorithms.terminal_rewards(
        r.reshape(ROWS, SLOTS)[:, 0], m, **rows
    ),
}


def flat(value: Tensor) -> Tensor:
    return value.reshape(-1)


@pytest.mark.parametrize("name", KNOWS_ROWS)
def test_weights_are_the_same_packed_and_padded(name: str) -> None:
    """[B, T] and packed [T] with cu_seqlens get the same weights."""
    of = KNOWS_ROWS[name]
    assert torch.equal(of(flat(MASK), cu_seqlens=PACKED), flat(of(MASK)))


@pytest.mark.parametrize("name", ACTS_ON_ROWS)
def test_rows_are_the_same_packed_and_padded(name: str) -> None:
    """So do losses, corrections and masks that act on whole rows."""
    of = ACTS_ON_ROWS[name]
    more = {"advantages": ADVANTAGES} if name in TAKES_ADVANTAGES else {}
    packed = of(
        flat(CURRENT),
        flat(BEHAVIOR),
        action_mask=flat(MASK),
        cu_seqlens=PACKED,
        **{key: flat(value) for key, value in more.items()},
    )
    padded = of(CURRENT, BEHAVIOR, action_mask=MASK, **more)
    torch.testing.assert_close(packed, flat(padded), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", REACHES_BACK)
def test_returns_are_the_same_packed_and_padded(name: str) -> None:
    """So do returns and advantages over time."""
    of = REACHES_BACK[name]
    close(of(flat(CURRENT), flat(MASK), cu_seqlens=PACKED), flat(of(CURRENT, MASK)))


# Every loss as a function of logp alone; what a formula detaches is held at CURRENT.
SMOOTH: dict[str, Callable[[Tensor], Tensor]] = {
    "score_function": lambda x: algorithms.score_function(x, ADVANTAGES),
    "ppo_clip": lambda x: algorithms.ppo_clip(x, PROXIMAL, advantages=ADVANTAGES),
    "dual_clip": lambda x: algorithms.dual_clip(
        algorithms.ppo_clip(x, PROXIMAL, advantages=ADVANTAGES), ADVANTAGES, bound=1.2
    ),
    "decoupled_ppo": lambda x: algorithms.decoupled_ppo(
        x,
        PROXIMAL,
        advantages=ADVANTAGES,
        importance_weights=algorithms.icepop(PROXIMAL, BEHAVIOR),
    ),
    "gspo": lambda x: algorithms.gspo(
        x, PROXIMAL, advantages=ADVANTAGES, action_mask=MASK, clip_low=0.9, clip_high=9
    ),
    "sapo": lambda x: algorithms.sapo(x, PROXIMAL, advantages=ADVANTAGES),
    "dppo_tv": lambda x: algorithms.dppo_tv(
        x, BEHAVIOR, advantages=ADVANTAGES, delta=0.05, penalty=0.1
    ),
    "m2po": lambda x: algorithms.m2po(x, BEHAVIOR, advantages=ADVANTAGES, kept=KEPT),
    "k1": lambda x: algorithms.k1(x, PROXIMAL),
    "k2": lambda x: algorithms.k2(x, PROXIMAL),
    "k3": lambda x: algorithms.k3(x, PROXIMAL),
    "k3_off_policy": lambda x: algorithms.k3_off_policy(x, BEHAVIOR, proximal_logprobs=PROXIMAL),
    "value_loss": lambda x: algorithms.value_loss(x, PROXIMAL, old_values=BEHAVIOR, clip=0.1),
    "entropy_bonus": lambda x: algorithms.entropy_bonus(x**2, coefficient=0.3),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_are_slopes(name: str) -> None:
    """Central differences agree with autograd to 1e-5, token by token."""
    of, step = SMOOTH[name], 1e-6
    slopes = torch.zeros_like(CURRENT)
    for row in range(ROWS):
        for slot in range(SLOTS):
            nudge = torch.zeros_like(CURRENT)
            nudge[row, slot] = step
            slopes[row, slot] = (of(CURRENT + nudge).sum() - of(CURRENT - nudge).sum()) / (2 * step)

    torch.testing.assert_close(gradient(of), slopes, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("of", "start"),
    [
        (lambda x: algorithms.gspo(x, CURRENT, advantages=ADVANTAGES, action_mask=MASK), CURRENT),
        (lambda x: algorithms.m2po(x, CURRENT, advantages=ADVANTAGES, kept=MASK), CURRENT),
    ],
    ids=["gspo", "m2po"],
)
def test_on_policy_whole_rows_have_the_gradient_of_the_score_function(
    of: Callable[[Tensor], Tensor], start: Tensor
) -> None:
    """Where the policy has not moved GSPO and M2PO, aggregated over sampled tokens, agree with -A logp."""
    weights = algorithms.seq_mean_token_mean(MASK.double())
    expected = gradient(lambda x: weights * algorithms.score_function(x, ADVANTAGES), start)
    close(gradient(lambda x: weights * of(x), start), expected)


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_with_lambda_one_the_return_is_what_is_to_come(gamma: float) -> None:
    """GAE's R is then the discounted sum of rewards over sampled tokens, whatever the critic says."""
    rewards, values = random(8), random(9)
    _, returns = algorithms.gae(rewards, values, action_mask=MASK, gamma=gamma, lam=1.0)
    close(returns, algorithms.discounted_returns(rewards, MASK, gamma=gamma))


def test_ratios_are_taken_in_float32() -> None:
    """bf16 logprobs are widened before they are subtracted: their difference would lose most of its digits."""
    now, before = torch.tensor([-7.03, -0.52]), torch.tensor([-7.0, -0.5])
    wide = ratio(now.bfloat16(), before.bfloat16())
    assert wide.dtype == torch.float32
    assert torch.equal(wide, (now.bfloat16().float() - before.bfloat16().float()).exp())


def test_clipped_tokens_are_told_by_side_and_sign() -> None:
    """Only a token that its own advantage pushes out of the region counts as clipped."""
    current = torch.tensor([0.0, 0.5, 0.5, -0.5, -0.5])
    at: dict[str, Any] = {"advantages": torch.tensor([1.0, 1.0, -1.0, 1.0, -1.0]), "bound": 0.2}
    start = torch.zeros(5)
    assert torch.nonzero(algorithms.clipped_high(current, start, **at)).tolist() == [[1]]
    assert torch.nonzero(algorithms.clipped_low(current, start, **at)).tolist() == [[4]]


def test_a_length_adaptive_lambda_looks_about_as_far_as_the_row() -> None:
    """VAPO: 1 - 1 / (alpha * length), never below 0."""
    result = algorithms.length_adaptive_lambda(torch.tensor([10.0, 40.0, 1000.0]), alpha=0.05)
    torch.testing.assert_close(result, torch.tensor([0.0, 0.5, 0.98]))


def test_a_kl_in_the_reward_carries_no_gradient() -> None:
    """Rewards less beta * k1 are numbers, however the estimate was made."""
    logprobs = CURRENT.clone().requires_grad_()
    result = algorithms.penalized_rewards(PROXIMAL, algorithms.k1(logprobs, BEHAVIOR), beta=0.1)
    assert not result.requires_grad
    close(result, PROXIMAL - 0.1 * (CURRENT - BEHAVIOR))
