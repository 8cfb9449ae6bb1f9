"""Tokens whose sampling a grammar, penalties, truncation or greedy decoding changed."""

from math import exp

import msgspec
import pytest
import torch
from prometheus_client import CollectorRegistry, generate_latest
from torch import Tensor

from rollout.episode.turn import OutputFlags, Turn
from rollout.settings import FlaggedTokens
from tests.trainer.batch.test_batch import claim, prepared, turn
from trainer.composition.composition import Composition
from trainer.learner.microbatch import Microbatch
from trainer.objective.losses import measured
from trainer.objective.objective import Objective
from trainer.telemetry.report import Report

FLAGS = (OutputFlags.NONE, OutputFlags.CONSTRAINED, OutputFlags.MALFORMED, OutputFlags.GREEDY)
BEHAVIOR = torch.full((4,), -1.0)
PROXIMAL = torch.full((4,), -3.0)  # importance weights of exp(-2) = 0.135, which IcePop drops


@pytest.mark.parametrize(
    ("handling", "expected"),
    [
        ("train", [0.0, 0.0, 0.0, 0.0]),
        ("correct", [0.0, 0.135335, 0.0, 0.049787]),
        ("mask", [0.0, 0.0, 0.0, 0.0]),
        ("refuse", [0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_a_rare_flagged_token_is_corrected_not_dropped(
    handling: FlaggedTokens, expected: list[float]
) -> None:
    """Corrected, its weight is the truncated ratio, of a greedy token the policy's probability; others keep IcePop."""
    weights = importance_weights(handling, PROXIMAL)

    assert weights == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("handling", "expected"), [("train", 1.0), ("correct", 1.0), ("mask", 0.0), ("refuse", 0.0)]
)
def test_a_likely_flagged_token_trains_unless_masked(
    handling: FlaggedTokens, expected: float
) -> None:
    """Where behavior and policy agree, only masking takes a flagged token out; the others stay."""
    weights = importance_weights(handling, BEHAVIOR)

    assert weights[:3] == pytest.approx([1.0, expected, 1.0])


def test_flags_reach_the_microbatch_and_the_metric() -> None:
    """Every sampled token carries its output's flags into training, and is counted under the rule in force."""
    batch = prepared([claim("g", [1.0, 0.0], turns=[[flagged_turn()], [turn("b", [1], [7])]])])
    (microbatch,) = batch.train.microbatches
    registry = CollectorRegistry()

    Report(registry).prepared(batch, flagged_tokens="mask")

    assert microbatch.flags is not None
    by_token = dict(zip(microbatch.tokens.tolist(), microbatch.flags.tolist(), strict=True))
    assert by_token == {1: 0, 5: FLAGS[1], 6: FLAGS[1], 7: 0}
    exposed = generate_latest(registry).decode()
    assert 'flagged_tokens_total{flag="constrained",handling="mask"} 2.0' in exposed
    assert 'flagged_tokens_total{flag="narrowed",handling="mask"} 0.0' in exposed


@pytest.mark.parametrize("policy_loss", ["score_function", "ppo_clip", "cispo", "dppo_tv", "m2po"])
@pytest.mark.parametrize("proximal", ["recompute", "behavior"])
def test_a_corrected_token_is_weighed_once(policy_loss: str, proximal: str) -> None:
    """Wherever a loss's ratio starts, the gradient is -A times the policy over what sampled the token, which is 1 of a greedy one."""
    part = one_token_per_flag(torch.full((4,), -1.1))
    current = part.proximal_logprobs.clone().requires_grad_()
    parts = Composition(
        policy_loss=policy_loss, proximal=proximal, correction="none", clip_low=0.99, clip_high=9.0
    )

    loss, _ = Objective(parts)(current, torch.zeros(5), part)
    (gradient,) = torch.autograd.grad(loss, current)

    constrained, greedy = gradient[[2, 4]].tolist()
    assert (constrained, greedy) == pytest.approx((-exp(-0.1), -exp(-1.1)), rel=1e-5)


def test_a_flagged_token_of_a_dropped_row_stays_dropped() -> None:
    """Off-policy sequence masking is about the row; correcting a token of it brings nothing back."""
    part = one_token_per_flag(PROXIMAL).replace(advantages=-torch.ones(5))
    objective = Objective(
        Composition(proximal="behavior", correction="none", opsm_delta=0.1),
        flagged_tokens="correct",
    )

    weights = objective.importance_weights(measured(objective.parts, part.proximal_logprobs, part))

    assert weights.tolist() == [0] * 5


def importance_weights(handling: FlaggedTokens, proximal: Tensor) -> list[float]:
    """The weight of one token per flag, all with the same logprobs."""
    objective = Objective(flagged_tokens=handling)
    part = one_token_per_flag(proximal)
    at = measured(objective.parts, part.proximal_logprobs, part)
    weights: list[float] = objective.importance_weights(at).tolist()
    return weights[1:]


def one_token_per_flag(proximal: Tensor) -> Microbatch:
    """A prompt of one token, and then a token per flag."""
    return Microbatch(
        tokens=torch.arange(5),
        cu_seqlens=torch.tensor([0, 5], dtype=torch.int32),
        action_mask=torch.tensor([False, True, True, True, True]),
        advantages=torch.ones(5),
        behavior_logprobs=torch.cat([torch.zeros(1), BEHAVIOR]),
        proximal_logprobs=torch.cat([torch.zeros(1), proximal]),
        weights=torch.ones(5),
        flags=torch.tensor([0, *map(int, FLAGS)], dtype=torch.int32),
    )


def flagged_turn() -> Turn:
    """One turn of two tokens under a grammar."""
    plain = turn("a", [1], [5, 6])
    (output,) = plain.outputs
    constrained = msgspec.structs.replace(output, flags=int(OutputFlags.CONSTRAINED))
    return msgspec.structs.replace(plain, outputs=(constrained,))
