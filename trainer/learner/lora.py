"""What low-rank adaptation is asked for.

The projections have PEFT's names, and each has factors of its own even where Megatron computes several in one product. So
what trains is exactly what a PEFT adapter of the same rank would, any subset of projections can be chosen, and an export
changes no number; factors shared within a product would be fewer, and no PEFT adapter could be read back into them.
"""

from dataclasses import dataclass
from typing import Literal, get_args

Projection = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PROJECTIONS: tuple[Projection, ...] = get_args(Projection)


@dataclass(frozen=True, slots=True)
class Lora:
    """LoRA (2106.09685): y = W x + alpha / rank * B A dropout(x), of which only A and B train."""

    rank: int
    alpha: float
    target_modules: tuple[str, ...] = PROJECTIONS
    dropout: float = 0.0

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def shape(self) -> dict[str, object]:
        """What two learners must have in common to continue each other."""
        targets = sorted(self.target_modules)
        return {"rank": self.rank, "alpha": self.alpha, "target_modules": targets}
