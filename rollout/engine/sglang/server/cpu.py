"""What SGLang 0.5.23 lacks on a machine without a GPU, put in place before it is imported.

The wheel has plain-PyTorch fallbacks for everything it needs to serve a dense model, but it imports CUDA-only packages
first.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType

import torch

from rollout.engine.sglang.server import triton_stub

ARGUMENTS = (
    *("--device", "cpu", "--attention-backend", "torch_native"),
    # SGLang's own choice for a float32 model is float16, 1e-3 off the trainer.
    *("--dtype", "float32"),
    "--sleep-on-idle",  # without it the waiting scheduler keeps a whole core busy
    *("--max-total-tokens", "32768"),  # SGLang would take 71 % of the memory for its cache
)


def install() -> None:
    """Patch this process; every process of the server that is not forked has to call it."""
    os.environ["SGLANG_USE_CPU_ENGINE"] = "1"
    # SGLang threads each kernel over all cores otherwise, which for small models costs more than it gains.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # torch.compile would need a C++ compiler, and asks our triton for its back ends in an endless loop.
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    triton_stub.install()
    _unpin_memory()
    _declare_torchvision_operators()
    _declare_sgl_kernel_operators()
    _install_sgl_kernel()
    _fork_workers()


def _fork_workers() -> None:
    """SGLang asks for spawned workers, which only a GPU needs; two thirds of a start were their imports."""
    set_start_method = multiprocessing.set_start_method

    def fork(method: str | None, force: bool = False) -> None:
        del method
        set_start_method("fork", force=force)

    multiprocessing.set_start_method = fork


def _unpin_memory() -> None:
    """SGLang's adapters ask for pinned memory, which torch refuses without a GPU."""
    torch.Tensor.pin_memory = lambda tensor, *_: tensor  # type: ignore[method-assign]
    for name in ("empty", "tensor", "zeros"):
        setattr(torch, name, _without_pinning(getattr(torch, name)))


def _without_pinning(factory: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def create(*args: object, pin_memory: bool = False, **options: object) -> torch.Tensor:
        del pin_memory
        return factory(*args, **options)

    return create


def _declare_torchvision_operators() -> None:
    """PyPI's torchvision cannot load its CUDA library, then fails on operators that are not declared."""
    for name in ("nms", "qnms"):
        torch.library.define(
            f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )


def _declare_sgl_kernel_operators() -> None:
    """SGLang looks these up when it imports Qwen3.5; without them it has none of the Qwen models that read images."""
    for name in (
        "fused_sigmoid_mul_cpu",
        "fused_qk_gemma_rmsnorm_cpu",
        "fused_qk_gemma_rmsnorm_with_gate_cpu",
        "fused_qkvzba_split_reshape_cat_contiguous_cpu",
    ):
        torch.library.define(f"sgl_kernel::{name}", "() -> ()")


def _install_sgl_kernel() -> None:
    """The published `sgl_kernel` is CUDA only; SGLang asks it for one CPU function that has no fallback."""
    module = ModuleType("sgl_kernel")
    module.__spec__ = ModuleSpec("sgl_kernel", None, is_package=True)
    module.__path__ = []
    module.__dict__["assign_req_to_token_pool_cpu"] = _assign_req_to_token_pool
    module.__dict__["__getattr__"] = _unavailable
    sys.modules["sgl_kernel"] = module


def _assign_req_to_token_pool(  # noqa: PLR0917 - SGLang's own signature
    request_rows: torch.Tensor,
    request_to_token: torch.Tensor,
    starts: torch.Tensor,
    ends: torch.Tensor,
    cache_locations: torch.Tensor,
    stride: int,
) -> None:
    """Row r of `request_to_token`, from starts[r] to ends[r], takes the next of `cache_locations`."""
    taken = 0
    rows = zip(request_rows.tolist(), starts.tolist(), ends.tolist(), strict=True)
    for row, start, end in rows:
        locations = cache_locations[taken : taken + end - start]
        request_to_token[row, start:end] = locations.to(request_to_token.dtype)
        taken += end - start


def _unavailable(name: str) -> Callable[..., object]:
    if name.startswith("__"):
        raise AttributeError(name)

    def function(*args: object, **kwargs: object) -> object:
        raise RuntimeError(f"sgl_kernel.{name} was called on a machine without a GPU")

    return function
