"""Calls with a seed: the same seed, prompt and weights give the same tokens, whatever else the engine samples meanwhile.

SGLang reads seeds only with kernels that do not run on every machine. Here a call with a seed draws its tokens by a hash of
the seed and the token's position, and every other call as ever. Equal tokens need equal probabilities: where a batch
of another size changes them in the last digit, a token can rarely differ.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from sglang.srt.layers.sampler import Sampler, register_sampler_backend
from sglang.srt.sampling.sampling_batch_info import SamplingBatchInfo

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # splitmix64, in the signed integers that torch has
_MIX = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64))
_MANTISSA = 53  # bits of a float64


def install() -> None:
    """For this process, which must be a scheduler's."""
    for backend in ("pytorch", "flashinfer"):
        register_sampler_backend(backend, SeededSampler)
    # SGLang's batches carry no seeds to a sampler of another's, and these are where it makes, thins, joins and copies them.
    batch: Any = SamplingBatchInfo
    batch.adjusted_from_schedule_batch = _read_seeds
    batch.adjusted_filter_batch = _keep_seeds
    batch.adjusted_merge_batch = _join_seeds
    batch.copy_for_forward = _copying(batch.copy_for_forward)


class SeededSampler(Sampler):  # type: ignore[misc]
    def _sample_from_probs(
        self, probs: torch.Tensor, info: Any, positions: torch.Tensor, is_simple: bool
    ) -> tuple[torch.Tensor, Any]:
        """SGLang's own tokens, and others for the calls that have a seed."""
        rows = [row for row, seed in enumerate(info.seeds) if seed is not None]
        if not rows:
            return super()._sample_from_probs(probs, info, positions, is_simple)  # type: ignore[no-any-return]
        chosen = torch.tensor(rows, device=probs.device)
        seeds = torch.tensor([info.seeds[row] for row in rows], device=probs.device)
        weights = narrowed(
            probs[chosen].double(), info.top_ks[chosen], info.top_ps[chosen], info.min_ps[chosen]
        )
        ids, capture = super()._sample_from_probs(probs, info, positions, is_simple)
        ids[chosen] = drawn(weights, seeds, positions[chosen]).to(ids.dtype)
        # Without it SGLang looks up the weight of the token that was drawn here.
        return ids, None if capture is None else capture._replace(selected_weight=None)


def _read_seeds(info: Any, batch: Any, vocab_size: int) -> None:
    del vocab_size
    info.seeds = [request.sampling_params.sampling_seed for request in batch.reqs]


def _keep_seeds(info: Any, kept: Sequence[int], kept_on_device: torch.Tensor) -> None:
    del kept_on_device
    info.seeds = [info.seeds[row] for row in kept]


def _join_seeds(info: Any, other: Any) -> None:
    info.seeds = info.seeds + other.seeds


def _copying(copy: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def copy_for_forward(info: Any) -> Any:
        copied = copy(info)
        copied.seeds = list(info.seeds)
        return copied

    return copy_for_forward


def narrowed(
    weights: torch.Tensor, top_ks: torch.Tensor, top_ps: torch.Tensor, min_ps: torch.Tensor
) -> torch.Tensor:
    """The weights [N, vocabulary] that top-k, top-p and min-p leave, in SGLang's order; the others are 0."""
    sorted_weights, order = weights.sort(dim=-1, descending=True)
    before = sorted_weights.cumsum(-1) - sorted_weights
    ranks = torch.arange(weights.shape[-1], device=weights.device)
    least = sorted_weights[:, :1] * min_ps.view(-1, 1)
    is_left = (ranks < top_ks.view(-1, 1)) & (before <= top_ps.view(-1, 1))
    is_left &= sorted_weights >= least
    return torch.zeros_like(weights).scatter(1, order, sorted_weights * is_left)


def drawn(weights: torch.Tensor, seeds: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """A token [N] of each row, with a probability in proportion to its weight."""
    sums = weights.cumsum(-1)
    point = uniform(seeds, positions).view(-1, 1) * sums[:, -1:]
    return torch.searchsorted(sums, point, right=True).clamp(max=weights.shape[-1] - 1).view(-1)


def uniform(seeds: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """A number from 0 to below 1 for each seed and position."""
    bits = seeds * _MIX[0][1] + (positions.long() + 1) * _GOLDEN
    for shift, factor in _MIX:
        bits = (bits ^ _shifted(bits, shift)) * factor
    bits ^= _shifted(bits, 31)
    return _shifted(bits, 64 - _MANTISSA).double() / (1 << _MANTISSA)


def _shifted(bits: torch.Tensor, by: int) -> torch.Tensor:
    """To the right, with zeros before."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
