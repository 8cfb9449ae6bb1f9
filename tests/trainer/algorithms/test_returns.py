"""Credit over time against its definition: GAE, returns to go, whitening, the critic's loss."""

import pytest
import torch

from tests.trainer.rows import MASK, ROWS, SLOTS, close, random
from trainer.algorithms import gae, reinforce_plus_plus, terminal_rewards, value_loss, whiten


def reference_gae(
    rewards: list[float], values: list[float], *, gamma: float, lam: float, last: float
) -> list[float]:
    advantages, running, following = [], 0.0, last
    for reward, value in reversed(list(zip(rewards, values, strict=True))):
        running = reward + gamma * following - value + gamma * lam * running
        following = value
        advantages.append(running)
    return advantages[::-1]


def test_gae_steps_over_what_was_not_sampled() -> None:
    """On a row with holes GAE is that of the compacted row, with the bootstrap after its last sampled token."""
    rewards, values = random(5), random(6)
    last = torch.tensor([0.4, 0.0], dtype=torch.float64)
    advantages, returns = gae(rewards, values, action_mask=MASK, gamma=0.9, lam=0.8, bootstrap=last)
    for row in range(ROWS):
        chosen = MASK[row]
        expected = reference_gae(
            rewards[row][chosen].tolist(),
            values[row][chosen].tolist(),
            gamma=0.9,
            lam=0.8,
            last=float(last[row]),
        )
        close(advantages[row][chosen], torch.tensor(expected, dtype=torch.float64))
    close(returns, torch.where(MASK, advantages + values, 0.0))
    assert torch.equal(advantages[~MASK], torch.zeros_like(advantages[~MASK]))


def test_without_a_critic_gae_broadcasts_the_reward() -> None:
    """With gamma = lambda = 1 and V = 0 every sampled token gets the reward of its row."""
    rewards = terminal_rewards(torch.tensor([2.0, -1.0]).double(), MASK)
    advantages, _ = gae(rewards, torch.zeros_like(rewards), action_mask=MASK)
    close(advantages, torch.tensor([[2.0], [-1.0]]).double() * MASK)


def test_the_reward_lands_on_the_last_sampled_token() -> None:
    """A row that ends in a tool's answer keeps its reward, on the token before."""
    rewards = terminal_rewards(torch.tensor([2.0, -1.0]), MASK)
    assert torch.nonzero(rewards).tolist() == [[0, 4], [1, 3]]


def test_reinforce_plus_plus_reaches_back_over_tool_calls() -> None:
    """The return is not reset by tokens that were not sampled, and is whitened over the batch."""
    rewards = terminal_rewards(torch.tensor([2.0, -1.0]).double(), MASK)
    result = reinforce_plus_plus(rewards, MASK)
    returns = torch.tensor([[2.0], [-1.0]]).double().expand(ROWS, SLOTS)[MASK]
    expected = (returns - returns.mean()) / (returns.var(correction=0) + 1e-8).sqrt()
    close(result[MASK], expected)


def test_whitening_is_over_sampled_tokens() -> None:
    """Mean 0 and variance 1 over the mask, 0 elsewhere, all 0 for an empty mask."""
    result = whiten(random(7), MASK)
    assert float(result[MASK].mean()) == pytest.approx(0, abs=1e-12)
    assert float(result[MASK].var(correction=0)) == pytest.approx(1, abs=1e-6)
    assert torch.equal(result[~MASK], torch.zeros_like(result[~MASK]))
    assert torch.equal(whiten(random(7), MASK & False), torch.zeros(ROWS, SLOTS).double())


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e6])
def test_whitening_makes_no_signal_of_a_constant(value: float) -> None:
    """Equal values become 0 exactly; their rounding errors are not blown up by the small epsilon."""
    assert torch.equal(whiten(torch.full((7,), value), torch.ones(7)), torch.zeros(7))


def test_value_loss_takes_the_worse_of_clipped_and_plain() -> None:
    """0.5 max((V - R)^2, (V_old + clip(V - V_old) - R)^2)."""
    result = value_loss(
        torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), old_values=torch.tensor([0.0, 0.0])
    )
    close(result, torch.tensor([0.5, 0.5]))
