"""Whole tensors from the parts that the ranks of a job hold."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from megatron.core import parallel_state
from torch import Tensor
from torch.distributed import ProcessGroup

from trainer.megatron import platform


def all_gather(part: Tensor, group: ProcessGroup) -> list[Tensor]:
    """The parts of all ranks of the group."""
    if group.size() == 1:
        return [part]
    parts = [torch.empty_like(part) for _ in range(group.size())]
    torch.distributed.all_gather(parts, part.contiguous(), group=group)
    return parts


@torch.no_grad()
def over_stages(
    own: Iterator[tuple[str, Tensor]],
    *,
    names: Sequence[str],  # those that `own` yields, in its order
    shapes: Mapping[str, tuple[int, ...]],  # of all tensors of all stages
    dtype: torch.dtype,
) -> Iterator[tuple[str, Tensor]]:
    """The tensors of each pipeline stage, on the CPU of every rank, stage by stage; every rank must consume it to the end."""
    group = parallel_state.get_pipeline_model_parallel_group()
    for stage in range(group.size()):
        source = torch.distributed.get_global_rank(group, stage)
        message = [names]
        torch.distributed.broadcast_object_list(message, src=source, group=group)
        for name in message[0]:
            if stage == group.rank():
                tensor = next(own)[1].contiguous()
            else:
                tensor = torch.empty(shapes[name], dtype=dtype, device=platform.device())
            torch.distributed.broadcast(tensor, src=source, group=group)
            # A copy, so that the next step does not change the exported tensor.
            yield name, tensor.to("cpu", copy=True).contiguous()
