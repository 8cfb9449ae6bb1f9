"""The one file that knows whether this machine has a GPU.

With CUDA it picks NCCL and, where installed, TransformerEngine. Without, it picks gloo and replaces the
few places where Megatron-Core 0.16 names a CUDA device; all other code is the GPU code. Each replacement is a
row of `patches()`, and `install` raises an error if upstream has moved one.
"""

import importlib
import importlib.util
import inspect
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch

from trainer.megatron.kernels import fused
from trainer.megatron.kernels.adam import FusedAdam
from trainer.megatron.kernels.linear import linear

CPU = torch.device("cpu")


def has_cuda() -> bool:
    return torch.cuda.is_available()


def has_transformer_engine() -> bool:
    return has_cuda() and importlib.util.find_spec("transformer_engine") is not None


def can_branch() -> bool:
    """Whether sequences may form trees; TransformerEngine's attention has no mask for it."""
    return not has_transformer_engine()


def device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if has_cuda() else CPU


def backend() -> str:
    return "nccl" if has_cuda() else "gloo"


def install(local_rank: int) -> None:
    """Make this process ready for Megatron; safe to repeat. `local_rank` chooses its GPU."""
    if has_cuda():
        torch.cuda.set_device(local_rank)
    for patch in patches():
        patch.apply()


@dataclass(frozen=True, slots=True)
class Patch:
    """A name of torch or Megatron that assumes CUDA, and its replacement."""

    owner: Any
    name: str
    replacement: Any

    def apply(self) -> None:
        if not hasattr(self.owner, self.name):
            raise RuntimeError(
                f"{self.owner.__name__} has no {self.name!r}; this release of torch or megatron-core "
                "is not the one trainer/megatron/platform.py was written for"
            )
        setattr(self.owner, self.name, self.replacement)


def patches() -> Iterator[Patch]:
    if not has_transformer_engine():
        yield from _fused_kernels()
    if not has_cuda():
        yield from _devices_and_streams()
        yield from _random_state()
        yield from _literal_devices()
        yield from _optimizer()
        yield from _linear()
        yield from _activation()
        yield from _collectives()
        yield from _mixture_of_experts()


def _fused_kernels() -> Iterator[Patch]:
    """Our kernels replace TransformerEngine's, so that Megatron runs the same code as with them."""
    rope = importlib.import_module("megatron.core.models.common.embeddings.rope_utils")
    optimizer = importlib.import_module("megatron.core.optimizer")
    distributed = importlib.import_module("megatron.core.optimizer.distrib_optimizer")
    router = importlib.import_module("megatron.core.transformer.moe.router")
    yield Patch(router, "router_gating_linear", fused.router_logits)
    yield Patch(rope, "fused_apply_rotary_pos_emb_thd", fused.rotate_packed)
    yield Patch(optimizer, "Adam", FusedAdam)
    yield Patch(optimizer, "USING_PYTORCH_OPTIMIZER", False)
    yield Patch(distributed, "Adam", FusedAdam)
    yield Patch(distributed, "HAVE_APEX_OR_TE", True)
    yield Patch(distributed, "USING_APEX_OPTIMIZER", True)


def _devices_and_streams() -> Iterator[Patch]:
    yield Patch(torch.cuda, "current_device", lambda: CPU)
    # torch's compiler, if it is imported later, wants one function per name.
    yield Patch(torch.cuda, "set_device", lambda *_: None)
    yield Patch(torch.cuda, "synchronize", lambda *_: None)
    yield Patch(torch.Tensor, "cuda", lambda tensor, *_, **__: tensor)
    yield Patch(torch.Tensor, "record_stream", _ignore)
    for name in ("Stream", "Event", "stream", "current_stream", "default_stream"):
        yield Patch(torch.cuda, name, _InertStream)


def _random_state() -> Iterator[Patch]:
    """Megatron's tracker of random states uses the CPU generator."""
    random = importlib.import_module("megatron.core.tensor_parallel.random")
    yield Patch(torch.cuda, "get_rng_state", lambda *_, **__: torch.get_rng_state())
    yield Patch(torch.cuda, "manual_seed", torch.default_generator.manual_seed)
    yield Patch(random, "_get_cuda_rng_state", lambda *_, **__: torch.get_rng_state())
    yield Patch(random, "_set_cuda_rng_state", lambda state, *_, **__: torch.set_rng_state(state))


def _literal_devices() -> Iterator[Patch]:
    """Modules with a literal device="cuda" get a torch whose factories replace it by the CPU."""
    replacement = _torch_without_cuda()
    for module in (
        "dist_checkpointing.exchange_utils",
        "optimizer.clip_grads",
        "optimizer.grad_scaler",
        "optimizer.optimizer",
        "pipeline_parallel.schedules",
        "tensor_parallel.data",
        "transformer.moe.experts",
        "transformer.moe.moe_utils",
        "transformer.moe.router",
        "transformer.moe.token_dispatcher",
        "utils",
    ):
        yield Patch(importlib.import_module(f"megatron.core.{module}"), "torch", replacement)


def _optimizer() -> Iterator[Patch]:
    clip = importlib.import_module("megatron.core.optimizer.clip_grads")
    yield Patch(clip, "clip_grad_by_total_norm_fp32", _scale_to_norm)
    yield Patch(torch.nn.Parameter, "type", _type_with_cuda_name)
    # These ask torch's compiler not to look into them, which imports it: a second and a half of a start.
    for name in ("add_param_group", "load_state_dict", "state_dict", "zero_grad"):
        own = inspect.unwrap(getattr(torch.optim.Optimizer, name))
        yield Patch(torch.optim.Optimizer, name, own)


def _linear() -> Iterator[Patch]:
    layers = importlib.import_module("megatron.core.tensor_parallel.layers")
    yield Patch(layers, "linear_with_grad_accumulation_and_async_allreduce", linear)


def _activation() -> Iterator[Patch]:
    """Megatron's own is compiled at first use, which needs a C++ compiler on a CPU."""
    mlp = importlib.import_module("megatron.core.transformer.mlp")
    yield Patch(mlp, "bias_swiglu_impl", fused.swiglu)
    yield Patch(mlp, "weighted_bias_swiglu_impl", fused.weighted_swiglu)


def _collectives() -> Iterator[Patch]:
    """Gloo copies a whole buffer onto itself if a process is alone in its group; skip that."""
    buffers = importlib.import_module("megatron.core.distributed.param_and_grad_buffer")
    gather, scatter = (
        torch.distributed.all_gather_into_tensor,
        torch.distributed.reduce_scatter_tensor,
    )
    yield Patch(buffers, "dist_all_gather_func", _unless_alone(gather))
    yield Patch(buffers, "dist_reduce_scatter_func", _unless_alone(scatter))


def _mixture_of_experts() -> Iterator[Patch]:
    utils = importlib.import_module("megatron.core.transformer.moe.moe_utils")
    dispatcher = importlib.import_module("megatron.core.transformer.moe.token_dispatcher")
    router = importlib.import_module("megatron.core.transformer.moe.router")
    # Compiled at first use, and only needed to balance loads, which we do not.
    yield Patch(router.TopKRouter, "_apply_expert_bias", _ignore)
    yield Patch(utils, "maybe_move_tensor_to_cpu", _to_host)
    yield Patch(dispatcher, "maybe_move_tensor_to_cpu", _to_host)


def _ignore(*_: object, **__: object) -> None:
    return None


def _unless_alone(collective: Callable[..., Any]) -> Callable[..., Any]:
    def run(*tensors: torch.Tensor, group: torch.distributed.ProcessGroup, **options: Any) -> Any:
        return None if group.size() == 1 else collective(*tensors, group=group, **options)

    return run


class _InertStream:
    """A CUDA stream, event or stream context on a CPU, where operations run in order."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __getattr__(self, _: str) -> Callable[..., Self]:
        """Any method returns the object itself, which also serves as the event that a stream records."""
        return lambda *_, **__: self


def _torch_without_cuda() -> types.ModuleType:
    proxy = types.ModuleType("torch")
    proxy.__dict__.update(torch.__dict__)
    for name in (
        "arange",
        "as_tensor",
        "empty",
        "full",
        "ones",
        "rand",
        "randn",
        "tensor",
        "zeros",
    ):
        setattr(proxy, name, _on_cpu(getattr(torch, name)))
    for name in ("empty_like", "ones_like", "zeros_like"):
        setattr(proxy, name, _on_cpu(getattr(torch, name)))
    proxy.autocast = lambda _device, **options: torch.autocast("cpu", **options)  # type: ignore[attr-defined]
    return proxy


def _on_cpu(factory: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def create(*args: object, **options: object) -> torch.Tensor:
        if str(options.get("device")).startswith("cuda"):
            options["device"] = CPU
        return factory(*args, **options)

    return create


def _scale_to_norm(
    parameters: list[torch.Tensor],
    max_norm: float,
    total_norm: float,
    use_decoupled_grad: bool = False,
) -> None:
    """Megatron's gradient clipping, without its assertion that gradients are on a GPU."""
    assert not use_decoupled_grad
    gradients = [p.grad.detach() for p in parameters if p.grad is not None]
    scale = max_norm / (total_norm + 1e-6)
    if scale < 1.0 and gradients:
        torch._foreach_mul_(gradients, scale)


def _type_with_cuda_name(parameter: torch.Tensor, *args: Any, **options: Any) -> Any:
    """Megatron sorts parameters by type names such as "torch.cuda.FloatTensor"."""
    answer = torch.Tensor.type(parameter, *args, **options)
    return answer.replace("torch.", "torch.cuda.", 1) if isinstance(answer, str) else answer


def _to_host(tensor: Any, as_numpy: bool = False, record_stream: bool = False) -> Any:
    del record_stream
    return tensor.numpy() if as_numpy and isinstance(tensor, torch.Tensor) else tensor
