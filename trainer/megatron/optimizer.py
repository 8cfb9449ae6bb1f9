"""Adam over Megatron's buffers, and its learning-rate schedule."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip_gradient_norm: float = 1.0  # 0 switches clipping off
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: int = 0
    decay_steps: int | None = None  # optimizer steps until the minimum is reached; linear and cosine need it
    minimum_ratio: float = 0.0  # of learning_rate, where linear and cosine end
