"""RMSNorm with Megatron's signature, for layers without TransformerEngine.

Megatron's own wrapper of torch's norm refuses sequence parallelism; the mark on the weight is what
makes `finalize_model_grads` add its gradient over the tensor-parallel ranks.
"""

from typing import Any

import torch
from torch import Tensor


class RMSNorm(torch.nn.Module):
    def __init__(self, config: Any, hidden_size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.shape = (hidden_size,)
        self.eps = eps
        self.weight = torch.nn.Parameter(torch.ones(hidden_size, dtype=config.params_dtype))
        self.weight.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.rms_norm(x, self.shape, self.weight, self.eps)
