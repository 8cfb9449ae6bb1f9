"""What becomes of tokens beyond the staleness limit, and of groups that were drawn before others."""

import msgspec
import pytest
import torch

from tests.trainer.batch.test_batch import claim, prepared, turn
from trainer.batch.staleness import Beyond, StalenessRule
from trainer.composition.composition import Composition
from trainer.objective.losses import measured
from trainer.objective.objective import Objective

AGES = torch.tensor([0, 1, 2, 3, 6], dtype=torch.int32)


@pytest.mark.parametrize(
    ("beyond", "weights"),
    [
        ("drop", [1, 1, 1, 0, 0]),
        ("mask", [1, 1, 1, 0, 0]),
        ("down_weight", [1, 1, 1, 1 / 2, 1 / 5]),
    ],
)
def test_a_tokens_weight_follows_its_age(beyond: Beyond, weights: list[float]) -> None:
    """Within the limit every token counts in full; beyond it none, or less with each version."""
    assert StalenessRule(2, beyond).token_weights(AGES).tolist() == pytest.approx(weights)


def test_the_stale_head_of_a_fresh_episode_is_masked() -> None:
    """Of an episode that a swap cut in two, the part by the older policy keeps its place and loses its gradient."""
    swapped = [turn("a", [1, 2], [3, 4], version=5), turn("b", [1, 2], [6, 7], version=9)]
    batch = prepared(
        [claim("g", [1.0, 0.0], turns=[swapped, [turn("c", [1], [9], version=9)]])], version=10
    )
    (part,) = batch.train.microbatches
    current = torch.zeros_like(part.behavior_logprobs)
    rule = StalenessRule(2, "mask")
    objective = Objective(Composition(correction="none"), staleness=rule)

    weights = objective.importance_weights(measured(objective.parts, current, part))

    trained = {
        int(t): float(w) for t, w in zip(part.tokens, weights * part.action_mask, strict=True)
    }
    assert trained == {1: 0, 2: 0, 3: 0, 4: 0, 6: 1, 7: 1, 9: 1}


def test_a_preferred_group_counts_less() -> None:
    """The weight with which a group was drawn multiplies that of each of its tokens and of no others."""
    one, other = claim("one", [1.0, 0.0]), claim("other", [1.0, 0.0])
    plain = prepared([one, other]).train.microbatches
    weighed = prepared([msgspec.structs.replace(one, weight=0.25), other]).train.microbatches

    ratios = [
        (w.weights / p.weights)[p.action_mask].tolist() for w, p in zip(weighed, plain, strict=True)
    ]

    assert sorted(ratio for found in ratios for ratio in found) == [0.25] * 4 + [1.0] * 4
