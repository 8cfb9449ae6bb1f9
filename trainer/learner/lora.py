"""The settings of low-rank adaptation.

The projections have PEFT's names. Each has factors of its own even if a backend computes several projections in one product:
the same numbers train as in a PEFT adapter of that rank, any subset of projections can be chosen, and an export changes no number.
"""

from dataclasses import dataclass
from typing import Literal, get_args

Projection = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PROJECTIONS: tuple[Projection, ...] = get_args(Projection)


@dataclass(frozen=True, slots=True)
class Lora:
    """LoRA (2106.09685): y = W x + alpha / rank * B A dropout(x), only A and B train."""

    rank: int
    alpha: float
    target_modules: tuple[str, ...] = PROJECTIONS
    dropout: float = 0.0

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def shape(self) -> dict[str, object]:
        """What a checkpoint and the learner that loads it must have in common."""
        targets = sorted(self.target_modules)
        return {"rank": self.rank, "alpha": self.alpha, "target_modules": targets}
