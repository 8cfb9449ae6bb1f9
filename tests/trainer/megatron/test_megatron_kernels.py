"""The parts with a gradient of our own agree with slow float64 references, values and gradients."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainer.megatron.kernels.adam import FusedAdam
from trainer.megatron.kernels.fused import rotate_packed, rotations, swiglu
from trainer.megatron.kernels.norm import RMSNorm
from trainer.megatron.layers.causal_attention import causal_attention
from trainer.megatron.model import logprobs
from trainer.megatron.model.logprobs import token_logprobs


def leaf(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale
    return values.requires_grad_()


def exact(tensor: Tensor) -> Tensor:
    return tensor.detach().double().requires_grad_()


def assert_same_gradients(ours: Tensor, reference: Tensor, *pairs: tuple[Tensor, Tensor]) -> None:
    """Both outputs, and the gradients of the same random projection of both."""
    direction = torch.randn(ours.shape, generator=torch.Generator().manual_seed(9))
    torch.testing.assert_close(ours.double(), reference, atol=1e-5, rtol=1e-5)
    ours.backward(direction)
    reference.backward(direction.double())
    for own, expected in pairs:
        assert own.grad is not None
        torch.testing.assert_close(own.grad.double(), expected.grad, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("tokens", [0, 1, 50])
def test_logprobs_and_entropies_follow_their_definition(tokens: int) -> None:
    """log softmax(h W / temperature) at the target, and -sum p log p, with gradients of both."""
    hidden, weight = leaf(tokens, 8, seed=0), leaf(37, 8, seed=1)
    targets = torch.randint(0, 37, (tokens,), generator=torch.Generator().manual_seed(2))
    temperatures = torch.linspace(0.5, 2.0, tokens)
    ours = torch.stack(token_logprobs(hidden, weight, targets, temperatures=temperatures))

    hidden64, weight64 = exact(hidden), exact(weight)
    log_softmax = (hidden64 @ weight64.t() / temperatures.double()[:, None]).log_softmax(-1)
    chosen = log_softmax.gather(1, targets[:, None])[:, 0]
    entropies = -(log_softmax.exp() * log_softmax).sum(-1)
    reference = torch.stack((chosen, entropies))
    assert_same_gradients(ours, reference, (hidden, hidden64), (weight, weight64))


def test_a_vocabulary_too_large_for_one_chunk_is_the_same() -> None:
    """Tokens beyond one chunk's budget of logits get the same values and gradients as the definition."""
    vocabulary = logprobs.CHUNK_ELEMENTS // 100
    hidden, weight = leaf(250, 4, seed=0), leaf(vocabulary, 4, seed=1, scale=0.1)
    targets = torch.randint(0, vocabulary, (250,), generator=torch.Generator().manual_seed(2))
    ours, _ = token_logprobs(hidden, weight, targets)

    hidden64, weight64 = exact(hidden), exact(weight)
    log_softmax = (hidden64 @ weight64.t()).log_softmax(-1)
    reference = log_softmax.gather(1, targets[:, None])[:, 0]
    assert_same_gradients(ours, reference, (hidden, hidden64), (weight, weight64))


class LargestTensor(TorchDispatchMode):
    """How many elements the largest tensor has that an operation makes while it is on."""

    elements = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return made


def test_no_tensor_of_tokens_by_vocabulary_exists() -> None:
    """In neither pass is a tensor larger than a chunk's logits, an eighth of what all tokens' logits would be."""
    vocabulary = logprobs.CHUNK_ELEMENTS // 64
    hidden, weight = leaf(512, 4, seed=0), leaf(vocabulary, 4, seed=1)
    targets = torch.arange(512)
    with LargestTensor() as largest:
        measured = torch.stack(token_logprobs(hidden, weight, targets))
        measured.sum().backward()
    assert largest.elements == logprobs.CHUNK_ELEMENTS == 512 * vocabulary // 8


def test_huge_logits_stay_finite() -> None:
    """Logits of ten thousand give logprobs of the definition, not infinities."""
    hidden, weight = leaf(20, 8, seed=0, scale=100), leaf(37, 8, seed=1, scale=100)
    targets = torch.arange(20)
    ours, entropies = token_logprobs(hidden, weight, targets)
    reference = (hidden.double() @ weight.double().t()).log_softmax(-1)
    torch.testing.assert_close(ours.double(), reference[targets, targets], rtol=1e-5, atol=1e-2)
    assert entropies.isfinite().all()


def test_rmsnorm_follows_its_definition() -> None:
    """w x / sqrt(mean(x²) + eps), for a model's width and for heads."""
    for shape in ((30, 1, 16), (30, 4, 16)):
        config = SimpleNamespace(params_dtype=torch.float32, sequence_parallel=False)
        norm = RMSNorm(config, 16, eps=1e-3)
        with torch.no_grad():
            norm.weight.copy_(torch.linspace(-1, 2, 16))
        x = leaf(*shape, seed=0)
        x64, weight64 = exact(x), exact(norm.weight)
        reference = weight64 * x64 / (x64.square().mean(-1, keepdim=True) + 1e-3).sqrt()
        assert_same_gradients(norm(x), reference, (x, x64), (norm.weight, weight64))


def test_swiglu_follows_its_definition() -> None:
    """silu(gate) times up, gate before up."""
    x = leaf(20, 1, 12, seed=0, scale=3)
    x64 = exact(x)
    gate, up = x64.chunk(2, dim=-1)
    assert_same_gradients(swiglu(x, None), gate * gate.sigmoid() * up, (x, x64))


def test_rotary_embedding_follows_its_definition() -> None:
    """Channel pairs (i, i + D/2) turn by position times frequency i, as complex numbers, in whatever order positions come."""
    dim, positions = 8, torch.tensor([0, 1, 2, 3, 4, 0, 3, 4, 5, 6, 7, 8, 1, 1, 2])
    starts = torch.tensor([0, 5, 15], dtype=torch.int32)
    frequencies = 1 / 100 ** (torch.arange(4) / 4)
    half = torch.outer(torch.arange(9), frequencies)
    angles = torch.cat((half, half), dim=-1)[:, None, None, :]
    x = leaf(15, 2, dim, seed=0)

    x64 = exact(x)
    arguments = torch.outer(positions.double(), frequencies.double())
    turns = torch.polar(torch.ones(15, 4).double(), arguments)
    turned = torch.complex(x64[..., :4], x64[..., 4:]) * turns[:, None]
    reference = torch.cat((turned.real, turned.imag), dim=-1)
    rotated = rotate_packed(x, starts, rotations(angles, positions))
    assert_same_gradients(rotated, reference, (x, x64))


def attended(query: Tensor, key: Tensor, value: Tensor, lengths: list[int]) -> Tensor:
    """Softmax over what comes before each token in its sequence, and itself, in the inputs' own precision."""
    shared = query.size(1) // key.size(1)
    key, value = (x.repeat_interleave(shared, dim=1) for x in (key, value))
    sequence = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    seen = (sequence[:, None] == sequence).tril()
    scores = torch.einsum("qhd,khd->hqk", query, key) * 0.5
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, value).flatten(1)


def test_causal_attention_follows_its_definition() -> None:
    """Of packed sequences, short and of one token, with two heads to a key; and the gradients of all three inputs."""
    lengths = [1, 40, 7, 900]
    inputs = [leaf(sum(lengths), heads, 8, seed=heads) for heads in (4, 2, 2)]
    inputs64 = [exact(x) for x in inputs]
    ours = causal_attention(*inputs, lengths, scale=0.5)
    pairs = zip(inputs, inputs64, strict=True)
    assert_same_gradients(ours, attended(*inputs64, lengths), *pairs)


def test_attention_is_more_exact_than_its_precision() -> None:
    """In bfloat16 the output is the float64 one of the same inputs, rounded once; gradients are off by less than 1 %."""
    lengths = [30, 20, 700]
    inputs = [
        leaf(sum(lengths), heads, 8, seed=heads).to(torch.bfloat16).detach().requires_grad_()
        for heads in (4, 2, 2)
    ]
    inputs64 = [exact(x) for x in inputs]
    ours, reference = (
        causal_attention(*inputs, lengths, scale=0.5),
        attended(*inputs64, lengths),
    )
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.double(), reference, rtol=2**-8, atol=1e-5)
    direction = leaf(*ours.shape, seed=9).to(torch.bfloat16).detach()
    ours.backward(direction)
    reference.backward(direction.double())
    for x, x64 in zip(inputs, inputs64, strict=True):
        assert x.grad is not None
        assert x64.grad is not None
        assert (x.grad - x64.grad).norm() < 0.01 * x64.grad.norm()


def test_our_adam_is_torchs() -> None:
    """Ten steps on the same gradients give torch's AdamW weights bit for bit."""
    ours, theirs = leaf(7, 5, seed=0), leaf(7, 5, seed=0)
    options = {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": 0.3}
    optimizers = (FusedAdam([ours], **options), torch.optim.AdamW([theirs], fused=True, **options))
    for step in range(10):
        ours.grad = leaf(7, 5, seed=step + 1).detach()
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert torch.equal(ours, theirs)
