"""The loss that the critic minimizes, and the sums from which its explained variance is computed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from trainer.algorithms import value_loss
from trainer.composition.composition import Composition
from trainer.learner.microbatch import Microbatch


@dataclass(frozen=True, slots=True)
class ValueObjective:
    parts: Composition

    def __call__(self, values: Tensor, microbatch: Microbatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum of W * l over the microbatch, W as in the policy's loss, and its detached sums."""
        old_values, returns = microbatch.values, microbatch.returns
        assert old_values is not None, "the critic was not measured"
        assert returns is not None, "the critic was not measured"
        clip = self.parts.value_clip or math.inf
        loss = value_loss(values, returns, old_values=old_values, clip=clip)
        errors = (returns - old_values).double()
        is_far = (values.detach() - old_values).abs() > clip
        # Everything is 0 where nothing was sampled.
        sums = {
            "tokens": microbatch.action_mask.double().sum(),
            "clipped": is_far.double().sum(),
            "errors": errors.sum(),
            "errors_squared": (errors**2).sum(),
            "returns": returns.double().sum(),
            "returns_squared": (returns.double() ** 2).sum(),
        }
        return (microbatch.weights * loss).sum(), sums


def explained_variance(sums: Mapping[str, float]) -> float:
    """1 - Var(R - V) / Var(R) over tokens: 1 if the critic predicts every return, 0 or less if it predicts none."""
    tokens = max(1.0, sums["tokens"])
    of_errors, of_returns = (
        sums[f"{name}_squared"] / tokens - (sums[name] / tokens) ** 2
        for name in ("errors", "returns")
    )
    return 1 - of_errors / of_returns if of_returns > 0 else 0.0
