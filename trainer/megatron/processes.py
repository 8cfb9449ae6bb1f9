"""The processes of one training job: those that torchrun started, or this one alone."""

import os
from dataclasses import dataclass

import torch
from megatron.core import parallel_state
from megatron.core.tensor_parallel import model_parallel_cuda_manual_seed

from trainer.learner.errors import LayoutError
from trainer.learner.layout import Layout
from trainer.megatron import platform


@dataclass(frozen=True, slots=True)
class Membership:
    """What this process opened when it joined the job, and closes when it leaves."""

    joined: bool
    arranged: bool

    def leave(self) -> None:
        if self.arranged:
            parallel_state.destroy_model_parallel()
        if self.joined:
            torch.distributed.destroy_process_group()


def enter(layout: Layout, seed: int) -> Membership:
    """Join the job and arrange its processes, unless this process has done so before."""
    platform.install(int(os.environ.get("LOCAL_RANK", "0")))
    layout.data_parallel(int(os.environ.get("WORLD_SIZE", "1")))
    joined = not torch.distributed.is_initialized()
    if joined:
        _join()
    arranged = not parallel_state.is_initialized()
    if arranged:
        parallel_state.initialize_model_parallel(
            layout.tensor_parallel,
            layout.pipeline_parallel,
            context_parallel_size=layout.context_parallel,
            expert_model_parallel_size=layout.expert_parallel,
            expert_tensor_parallel_size=layout.expert_tensor_parallel,
            create_gloo_process_groups=False,
        )
    _check_arrangement(layout)
    torch.manual_seed(seed)
    model_parallel_cuda_manual_seed(seed)
    return Membership(joined, arranged)


def _join() -> None:
    if "RANK" in os.environ:
        torch.distributed.init_process_group(platform.backend())
    else:
        store = torch.distributed.HashStore()  # type: ignore[attr-defined]
        torch.distributed.init_process_group(platform.backend(), store=store, rank=0, world_size=1)


def _check_arrangement(layout: Layout) -> None:
    sizes = {
        "tensor": parallel_state.get_tensor_model_parallel_world_size(),
        "pipeline": parallel_state.get_pipeline_model_parallel_world_size(),
        "context": parallel_state.get_context_parallel_world_size(),
        "expert": parallel_state.get_expert_model_parallel_world_size(),
    }
    if any(getattr(layout, f"{name}_parallel") != size for name, size in sizes.items()):
        raise LayoutError(f"this process already has a layout of {sizes}; use the same one")
