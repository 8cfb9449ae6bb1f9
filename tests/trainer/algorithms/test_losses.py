"""Losses, corrections, KL and aggregation: values and gradients against float64 formulas, and the identities between them."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.trainer.rows import (
    ADVANTAGES,
    BEHAVIOR,
    CURRENT,
    MASK,
    PROXIMAL,
    ROWS,
    SLOTS,
    close,
    gradient,
)
from trainer.algorithms import (
    cispo,
    decoupled_ppo,
    dppo_tv,
    drgrpo,
    dual_clip,
    effective_sample_size,
    geo_mask,
    gspo,
    gspo_token,
    icepop,
    k1,
    k2,
    k3,
    k3_off_policy,
    k3_straight_through,
    log_linear_proximal,
    m2po,
    m2po_mask,
    opsm,
    ppo_clip,
    prompt_mean,
    sapo,
    score_function,
    seq_mean_token_mean,
    seq_mean_token_sum,
    seq_mis,
    seq_tis,
    tis,
    token_mean,
    traj_mean_token_mean,
)


def by_token(formula: Callable[[float, float, float], float], other: Tensor) -> Tensor:
    """The formula, token by token in Python floats."""
    rows = zip(
        CURRENT.flatten().tolist(),
        other.flatten().tolist(),
        ADVANTAGES.flatten().tolist(),
        strict=True,
    )
    return torch.tensor([formula(*row) for row in rows], dtype=torch.float64).reshape(ROWS, SLOTS)


def test_ppo_clip_is_the_papers() -> None:
    """max(-A rho, -A clip(rho)), and its gradient is -A rho where that branch is taken, else 0."""

    def value(logp: float, old: float, advantage: float) -> float:
        rho = math.exp(logp - old)
        return max(-advantage * rho, -advantage * min(max(rho, 0.8), 1.28))

    def slope(logp: float, old: float, advantage: float) -> float:
        rho = math.exp(logp - old)
        clipped = (advantage > 0 and rho > 1.28) or (advantage < 0 and rho < 0.8)
        return 0.0 if clipped else -advantage * rho

    def loss(logprobs: Tensor) -> Tensor:
        return ppo_clip(logprobs, PROXIMAL, advantages=ADVANTAGES)

    close(loss(CURRENT), by_token(value, PROXIMAL))
    close(gradient(loss), by_token(slope, PROXIMAL))
    assert 0 < int((gradient(loss) == 0).sum()) < CURRENT.numel()


def test_dual_clip_bounds_the_loss_of_bad_tokens() -> None:
    """With A < 0 the loss stops at -c A, and beyond it has no gradient."""
    far = PROXIMAL + 3

    def loss(logprobs: Tensor) -> Tensor:
        return dual_clip(ppo_clip(logprobs, PROXIMAL, advantages=ADVANTAGES), ADVANTAGES)

    bad = ADVANTAGES < 0
    close(loss(far)[bad], (-3 * ADVANTAGES)[bad])
    assert torch.equal(gradient(loss, far)[bad], torch.zeros_like(far[bad]))


def test_decoupled_ppo_weighs_the_clipped_loss() -> None:
    """Decoupled PPO is w times PPO around the proximal policy; with behavior = proximal it is PPO."""
    weights = tis(PROXIMAL, BEHAVIOR, high=10)
    plain = ppo_clip(CURRENT, PROXIMAL, advantages=ADVANTAGES)
    decoupled = decoupled_ppo(CURRENT, PROXIMAL, advantages=ADVANTAGES, importance_weights=weights)
    close(decoupled, torch.exp(PROXIMAL - BEHAVIOR) * plain)
    same = decoupled_ppo(
        CURRENT, PROXIMAL, advantages=ADVANTAGES, importance_weights=icepop(PROXIMAL, PROXIMAL)
    )
    close(same, plain)


def test_gspo_has_one_ratio_per_sequence() -> None:
    """GSPO clips the geometric mean of a row's ratios; its gradient is spread evenly over the row."""

    def loss(logprobs: Tensor) -> Tensor:
        values = gspo(
            logprobs, PROXIMAL, advantages=ADVANTAGES, action_mask=MASK, clip_low=0.9, clip_high=9
        )
        return values * seq_mean_token_mean(MASK.double())

    lengths = MASK.sum(1, keepdim=True)
    s = torch.exp(((CURRENT - PROXIMAL) * MASK).sum(1, keepdim=True) / lengths)
    close(loss(CURRENT).sum(), (-ADVANTAGES[:, :1] * s).mean())
    close(gradient(loss), -ADVANTAGES * s / lengths / ROWS * MASK)


def test_gspo_token_is_gspo_for_a_constant_advantage() -> None:
    """With one advantage per row both have the same value and, aggregated, the same gradient."""
    arguments = {"advantages": ADVANTAGES, "action_mask": MASK, "clip_low": 0.1, "clip_high": 0.1}
    weights = seq_mean_token_mean(MASK.double())
    one = gradient(lambda x: gspo(x, PROXIMAL, **arguments) * weights)
    other = gradient(lambda x: gspo_token(x, PROXIMAL, **arguments) * weights)
    close(one, other)
    close(gspo(CURRENT, PROXIMAL, **arguments), gspo_token(CURRENT, PROXIMAL, **arguments))


def test_cispo_never_drops_a_token() -> None:
    """The gradient is -min(rho, max) A on every token."""
    rho = torch.exp(CURRENT - PROXIMAL)
    result = gradient(lambda x: cispo(x, PROXIMAL, advantages=ADVANTAGES, ratio_max=1.1))
    close(result, -rho.clamp(max=1.1) * ADVANTAGES)


def test_sapo_gates_softly() -> None:
    """The gradient is -A 4 s (1 - s) rho with s = sigmoid(tau (rho - 1)), tau by the sign of A."""

    def slope(logp: float, old: float, advantage: float) -> float:
        rho, tau = math.exp(logp - old), 1.0 if advantage > 0 else 1.05
        s = 1 / (1 + math.exp(-tau * (rho - 1)))
        return -advantage * 4 * s * (1 - s) * rho

    close(gradient(lambda x: sapo(x, PROXIMAL, advantages=ADVANTAGES)), by_token(slope, PROXIMAL))


def test_dppo_drops_tokens_that_would_leave_the_region() -> None:
    """A token is dropped where the probability already moved by more than delta in its advantage's direction."""

    def slope(logp: float, behavior: float, advantage: float) -> float:
        gap = math.exp(logp) - math.exp(behavior)
        leaves = (advantage > 0 and gap > 0.05) or (advantage < 0 and gap < -0.05)
        return 0.0 if leaves else -advantage * math.exp(logp - behavior)

    def loss(logprobs: Tensor) -> Tensor:
        return dppo_tv(logprobs, BEHAVIOR, advantages=ADVANTAGES, delta=0.05)

    close(gradient(loss), by_token(slope, BEHAVIOR))
    assert 0 < int((gradient(loss) == 0).sum()) < CURRENT.numel()


def test_m2po_keeps_the_second_moment_small() -> None:
    """The largest squared log-ratios go first until the mean of the rest is below the threshold."""
    moments = ((CURRENT - BEHAVIOR) ** 2)[MASK]
    threshold = float(moments.sort().values[:3].mean()) + 1e-9
    kept = m2po_mask(CURRENT, BEHAVIOR, action_mask=MASK, threshold=threshold)
    assert int(kept.sum()) == 3
    assert float(moments[kept[MASK]].max()) <= float(moments[~kept[MASK]].min())
    assert int(m2po_mask(CURRENT, BEHAVIOR, action_mask=MASK, threshold=0.0).sum()) == 1
    result = gradient(lambda x: m2po(x, BEHAVIOR, advantages=ADVANTAGES, kept=kept))
    close(result, torch.where(kept, -ADVANTAGES * torch.exp(CURRENT - BEHAVIOR), 0.0))


@pytest.mark.parametrize(
    "loss",
    [
        lambda x, old: ppo_clip(x, old, advantages=ADVANTAGES),
        lambda x, old: decoupled_ppo(
            x, old, advantages=ADVANTAGES, importance_weights=torch.ones_like(x)
        ),
        lambda x, old: cispo(x, old, advantages=ADVANTAGES),
        lambda x, old: sapo(x, old, advantages=ADVANTAGES),
        lambda x, old: dppo_tv(x, old, advantages=ADVANTAGES),
        lambda x, old: gspo_token(x, old, advantages=ADVANTAGES, action_mask=MASK),
    ],
    ids=["ppo", "decoupled", "cispo", "sapo", "dppo", "gspo_token"],
)
def test_on_policy_every_loss_is_the_score_function(loss: Callable[..., Tensor]) -> None:
    """Where the policy has not moved, the gradient of every trust region is -A on each sampled token."""
    expected = gradient(lambda x: score_function(x, ADVANTAGES))
    close(gradient(lambda x: loss(x, CURRENT.detach()))[MASK], expected[MASK])


def test_corrections_follow_their_bounds() -> None:
    """TIS clips, IcePop drops, both on exp(proximal - behavior), and neither carries a gradient."""
    w = torch.exp(PROXIMAL - BEHAVIOR)
    close(tis(PROXIMAL, BEHAVIOR, low=0.9, high=1.1), w.clamp(0.9, 1.1))
    close(
        icepop(PROXIMAL, BEHAVIOR, low=0.9, high=1.1), torch.where((w >= 0.9) & (w <= 1.1), w, 0.0)
    )
    assert not tis(PROXIMAL.clone().requires_grad_(), BEHAVIOR).requires_grad


def test_sequence_corrections_act_on_whole_rows() -> None:
    """Products and geometric means run over a row's sampled tokens, and a row is kept or dropped whole."""
    logs = (PROXIMAL - BEHAVIOR) * MASK
    product = logs.sum(1, keepdim=True).exp().expand(ROWS, SLOTS)
    between = float(product.mean())
    close(seq_tis(PROXIMAL, BEHAVIOR, action_mask=MASK, high=between), product.clamp(max=between))
    close(
        seq_mis(PROXIMAL, BEHAVIOR, action_mask=MASK, high=between),
        torch.where(product > between, 0.0, product),
    )
    geometric = (logs.sum(1, keepdim=True) / MASK.sum(1, keepdim=True)).exp()
    kept = MASK & (geometric >= 0.999) & (geometric <= float(geometric.max()))
    close(
        geo_mask(PROXIMAL, BEHAVIOR, action_mask=MASK, high=float(geometric.max())),
        torch.where(kept, torch.exp(PROXIMAL - BEHAVIOR), 0.0),
    )


def test_opsm_drops_bad_rows_that_drifted() -> None:
    """A row goes iff its advantage is negative and the behavior policy liked its tokens much better."""
    drifted = CURRENT + torch.tensor([[1.0], [1.0]])
    kept = opsm(CURRENT, drifted, advantages=ADVANTAGES, action_mask=MASK)
    assert kept[0].all()
    assert not kept[1].any()
    assert opsm(CURRENT, CURRENT, advantages=ADVANTAGES, action_mask=MASK).all()


def test_log_linear_proximal_interpolates_by_age() -> None:
    """alpha = (age - 1) / age: 0 for the last version, 1/2 for the one before it, towards 1 for old ones."""
    versions = torch.tensor([[9, 8, 7, 1, 10, 11]]).expand(ROWS, SLOTS)
    result = log_linear_proximal(CURRENT, BEHAVIOR, versions=versions, training_version=10)
    alpha = torch.tensor([0, 1 / 2, 2 / 3, 8 / 9, 0, 0], dtype=torch.float64)
    close(result, BEHAVIOR + alpha * (CURRENT - BEHAVIOR))


def test_kl_estimators_are_their_formulas() -> None:
    """k1 = x, k2 = x^2/2, k3 = exp(-x) - 1 + x; the straight-through form has k3's value and k2's gradient."""
    x = CURRENT - PROXIMAL
    close(k1(CURRENT, PROXIMAL), x)
    close(k2(CURRENT, PROXIMAL), x**2 / 2)
    close(k3(CURRENT, PROXIMAL), torch.exp(-x) - 1 + x)
    close(gradient(lambda y: k2(y, PROXIMAL)), x)
    close(gradient(lambda y: k3(y, PROXIMAL)), 1 - torch.exp(-x))
    close(k3_straight_through(CURRENT, PROXIMAL), k3(CURRENT, PROXIMAL))
    close(gradient(lambda y: k3_straight_through(y, PROXIMAL)), x)


def test_kl_by_enumeration() -> None:
    """Over a whole vocabulary E[k1] = E[k3] = KL; the gradient of k2 is KL's, that of k1 is 0."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, generator=generator, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(6, generator=generator, dtype=torch.float64).log_softmax(0)
    policy = logits.log_softmax(0)
    probabilities = policy.exp().detach()
    exact = (policy.exp() * (policy - reference)).sum()
    close((probabilities * k1(policy, reference)).sum(), exact)
    close((probabilities * k3(policy, reference)).sum(), exact)

    def slope(value: Tensor) -> Tensor:
        return torch.autograd.grad(value, logits, retain_graph=True)[0]

    close(slope((probabilities * k2(policy, reference)).sum()), slope(exact))
    close(slope((probabilities * k1(policy, reference)).sum()), torch.zeros(6, dtype=torch.float64))


def test_the_off_policy_kl_has_the_exact_gradient() -> None:
    """rho * k3 with rho not detached has the gradient rho * x."""
    x, rho = CURRENT - BEHAVIOR, torch.exp(CURRENT - PROXIMAL)
    result = gradient(lambda y: k3_off_policy(y, BEHAVIOR, proximal_logprobs=PROXIMAL))
    close(result, rho * x)


def test_aggregation_weights_are_the_table() -> None:
    """Each mode puts its stated weight on masked tokens and nothing elsewhere."""
    mask = MASK.double()
    lengths = mask.sum(1, keepdim=True)
    close(token_mean(mask), mask / mask.sum())
    close(seq_mean_token_mean(mask), mask / (ROWS * lengths))
    close(seq_mean_token_sum(mask), mask / ROWS)
    close(drgrpo(mask, generation_budget=100), mask / (ROWS * 100))
    close(traj_mean_token_mean(mask, torch.tensor([5, 5])), mask / mask.sum())
    close(prompt_mean(mask, torch.tensor([7, 3])), mask / (ROWS * lengths))


def test_a_row_without_sampled_tokens_counts_nowhere() -> None:
    """Adding a row that samples nothing changes no weight."""
    padded = torch.cat([MASK, torch.zeros(1, SLOTS, dtype=torch.bool)])
    for mode in (token_mean, seq_mean_token_mean, seq_mean_token_sum):
        assert torch.equal(mode(padded)[:ROWS], mode(MASK))
        assert torch.equal(mode(padded)[ROWS], torch.zeros(SLOTS))


def test_mean_modes_weigh_one_in_all() -> None:
    """The weights of every mean mode add up to 1."""
    groups = torch.tensor([0, 1])
    for weights in (
        token_mean(MASK),
        seq_mean_token_mean(MASK),
        prompt_mean(MASK, groups),
        traj_mean_token_mean(MASK, groups),
    ):
        assert float(weights.double().sum()) == pytest.approx(1, abs=1e-6)


def test_huge_log_ratios_stay_finite() -> None:
    """A token the new policy all but forbids gives finite losses and weights, in float32."""
    behavior = torch.tensor([-1.0, -2000.0])
    proximal = torch.tensor([-2000.0, -1.0])
    advantages = torch.ones(2)
    for value in (
        tis(proximal, behavior),
        ppo_clip(proximal, behavior, advantages=advantages),
        k3(behavior, proximal),
    ):
        assert torch.isfinite(value).all()


def test_effective_sample_size_by_hand() -> None:
    """(1 + 1 + 2)^2 / (3 (1 + 1 + 4)) of the masked tokens, and 1 for none."""
    weights, mask = torch.tensor([1.0, 1.0, 2.0, 99.0]), torch.tensor([True, True, True, False])
    assert float(effective_sample_size(weights, mask)) == pytest.approx(16 / 18)
    assert float(effective_sample_size(weights, mask & False)) == 1
