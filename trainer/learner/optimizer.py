"""Settings of the optimizer: decoupled Adam and its learning-rate schedule."""

from dataclasses import dataclass
from typing import Literal

Schedule = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    """AdamW (1711.05101); norms and biases are not decayed.

    Step k of w warm-up steps has k/w of the learning rate. After the warm-up a constant schedule keeps the full rate; the others
    decay it to `minimum_ratio` of it at step `decay_steps`.
    """

    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip_gradient_norm: float = 1.0  # 0 switches clipping off
    schedule: Schedule = "constant"
    warmup_steps: int = 0
    decay_steps: int | None = None
    minimum_ratio: float = 0.0

    def __post_init__(self) -> None:
        if self.schedule == "constant":
            return
        if self.decay_steps is None or self.decay_steps <= self.warmup_steps:
            raise ValueError(
                f"a {self.schedule} schedule needs decay_steps greater than warmup_steps "
                f"({self.warmup_steps}), not {self.decay_steps}"
            )
