"""What one optimizer step takes, a loss, and what it gives, its metrics."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from trainer.learner.microbatch import Microbatch

# (sum over the microbatch of weights * token loss, sums to report and, under names that end in _max, largest values)
Loss = tuple[Tensor, Mapping[str, Tensor]]
# (current_logprobs [T], entropies [T], microbatch): float32 with gradient, 0 where `action_mask` is False
PolicyLoss = Callable[[Tensor, Tensor, Microbatch], Loss]
# (values [T], microbatch), as above
ValueLoss = Callable[[Tensor, Microbatch], Loss]


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """One optimizer step; `sums` and `maxima` are the loss function's, over all microbatches and processes."""

    loss: float
    gradient_norm: float  # before clipping
    learning_rate: float
    skipped: bool  # the loss or the gradient was not finite, so no weight changed
    sums: Mapping[str, float]
    maxima: Mapping[str, float]
