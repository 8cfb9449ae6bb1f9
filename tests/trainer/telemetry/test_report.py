"""The report of a step: which rule rejected a token, and how old its tokens are."""

import pytest
import torch
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import generate_latest

from rollout.episode.turn import OutputFlags
from tests.trainer.rows import MASK
from trainer.algorithms.loss import POLICY_LOSSES
from trainer.batch.staleness import StalenessRule
from trainer.composition.composition import Composition
from trainer.learner.microbatch import Microbatch
from trainer.objective.losses import clipped, measured
from trainer.objective.losses import policy_loss as policy_loss_of
from trainer.objective.objective import REJECTING, Objective
from trainer.telemetry.token_histogram import TokenHistogram


def test_a_rejected_token_is_counted_for_the_rule_that_took_it_first() -> None:
    """Of six rows each loses its token to another rule, but for one; a token that two rules take counts once."""
    nothing = torch.zeros(6)
    part = Microbatch(
        tokens=torch.tensor([9, 3] * 6),
        cu_seqlens=torch.arange(0, 13, 2, dtype=torch.int32),
        action_mask=torch.tensor([False, True] * 6),
        advantages=last(torch.tensor([1.0, 1.0, -1.0, 1.0, 1.0, 1.0])),
        behavior_logprobs=last(nothing - 1),
        proximal_logprobs=last(torch.tensor([-9.0, -1.0, -1.0, -1.0, -1.0, -1.0])),
        weights=last(nothing + 1),
        flags=last(torch.tensor([0, 1, 0, 0, 0, 0]) * int(OutputFlags.CONSTRAINED)),
        staleness=last(torch.tensor([7, 0, 0, 7, 0, 0])),
        kept=last(torch.tensor([0, 1, 1, 1, 0, 1])).bool(),
    )
    objective = Objective(
        Composition(opsm_delta=0.1), flagged_tokens="mask", staleness=StalenessRule(4, "mask")
    )

    _, sums = objective(last(torch.tensor([-1.0, -1, -2, -1, -1, -1])), torch.zeros(12), part)

    assert {rule: sums[f"rejected_by_{rule}"].item() for rule in REJECTING} == {
        "correction": 1,
        "flagged_tokens": 1,
        "opsm": 1,
        "stale_tokens": 1,
        "step_mask": 1,
    }
    assert sums["rejected"].item() == 5
    assert sums["tokens"].item() == 6


def last(values: torch.Tensor) -> torch.Tensor:
    """On the second token of each row of two."""
    return torch.stack([torch.zeros_like(values), values], dim=1).reshape(-1)


@pytest.mark.parametrize("dual_clip", [0.0, 1.05])
@pytest.mark.parametrize("policy_loss", [loss.name for loss in POLICY_LOSSES if loss.bounds])
def test_the_clipped_tokens_are_those_without_a_gradient(
    policy_loss: str, dual_clip: float
) -> None:
    """Counted by side and sign of A, they are exactly the tokens whose loss has no gradient."""
    parts = Composition(
        policy_loss=policy_loss, dual_clip=dual_clip, clip_low=0.01, clip_high=0.01, dppo_delta=0.05
    )
    mask, rows = MASK.reshape(-1).repeat(20), 2 * 20
    draw = torch.Generator().manual_seed(0)
    behavior = -1 + 0.3 * torch.randn(len(mask), generator=draw)
    current = (behavior + 0.1 * torch.randn(len(mask), generator=draw)).requires_grad_()
    by_row = torch.randn(rows, generator=draw).repeat_interleave(MASK.shape[1])
    part = Microbatch(
        tokens=torch.zeros(len(mask), dtype=torch.int64),
        cu_seqlens=torch.arange(0, len(mask) + 1, MASK.shape[1], dtype=torch.int32),
        action_mask=mask,
        advantages=by_row,
        behavior_logprobs=behavior,
        proximal_logprobs=behavior,
        weights=mask.float(),
    )
    at = measured(parts, current, part)

    counted = clipped(parts, at)

    (gradient,) = torch.autograd.grad((part.weights * policy_loss_of(parts, at)).sum(), current)
    found = counted["high"] | counted["low"] | counted["dual"]
    assert torch.equal(found[mask], (gradient == 0)[mask])
    assert (counted["high"] & mask & (by_row > 0)).any()
    assert (counted["low"] & mask & (by_row < 0)).any()
    has_dual = dual_clip > 0 and parts.reads("dual_clip")
    assert bool((counted["dual"] & mask & (by_row < 0)).any()) == has_dual


@pytest.mark.parametrize("batches", [[], [[]], [[0, 0, 3], [1, 2, 9, 4, 5, 1]]])
def test_a_batch_of_tokens_is_counted_as_one_by_one(batches: list[list[int]]) -> None:
    """The samples equal those of Prometheus's own histogram, observing one token at a time."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counted = TokenHistogram("age", "of a token", registry=ours, bounds=(0, 1, 2, 4))
    single = Histogram("age", "of a token", registry=theirs, buckets=(0, 1, 2, 4))

    for batch in batches:
        counted.observe(torch.tensor(batch, dtype=torch.int32))
        for age in batch:
            single.observe(age)

    assert samples(ours) == samples(theirs)


def samples(registry: CollectorRegistry) -> dict[tuple[str, float], float]:
    """By name and upper bound, as numbers."""
    assert generate_latest(registry)
    return {
        (sample.name, float(sample.labels.get("le", -1))): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
