"""Recomputation in the backward pass: the same numbers with less memory."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from tests.trainer.megatron.conftest import VOCABULARY, Reference
from tests.trainer.megatron.packing import batch, microbatch, random_sequences, score_function
from trainer.learner.layout import Layout
from trainer.learner.learner import Recompute
from trainer.learner.lora import Lora
from trainer.learner.microbatch import TrainBatch
from trainer.megatron import processes
from trainer.megatron.architecture import Architecture
from trainer.megatron.learner import MegatronLearner
from trainer.megatron.model.policy_model import PolicyModel
from trainer.megatron.weights import weights

Create = Callable[..., MegatronLearner]


@pytest.mark.parametrize("recompute", ["selective", "full"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"dtype": torch.bfloat16}, {"lora": Lora(4, alpha=8.0, dropout=0.3)}],
    ids=["float32", "bfloat16", "adapters"],
)
def test_what_is_computed_again_is_the_same(
    qwen3: Reference, create: Create, recompute: str, settings: dict[str, object]
) -> None:
    """Logprobs, loss, gradient norm and weights of two steps over a tree are bit-equal to those that keep activations."""
    tree = microbatch(
        random_sequences((40, 9, 20), vocabulary=VOCABULARY), denominator=60, parents=(-1, 20, -1)
    )
    batch = TrainBatch((tree,))
    outcomes = []
    for kind in ("none", recompute):
        learner = create(qwen3.directory, recompute=kind, **settings)
        (logprobs,) = learner.logprobs(batch)
        steps = [learner.step(batch, score_function) for _ in range(2)]
        outcomes.append((logprobs, steps, dict(learner.export())))
    (kept_logprobs, kept_steps, kept), (logprobs, steps, weights) = outcomes
    assert torch.equal(logprobs, kept_logprobs)
    assert steps == kept_steps
    assert all(torch.equal(weights[name], weight) for name, weight in kept.items())


@pytest.mark.parametrize("recompute", ["selective", "full"])
def test_computing_again_keeps_less(qwen3: Reference, recompute: Recompute) -> None:
    """Between the passes there are fewer bytes than without."""
    membership = processes.enter(Layout(), 0)
    architecture = Architecture.read(qwen3.directory)
    pack = batch(random_sequences((100, 100), vocabulary=VOCABULARY)).microbatches[0]
    kept = {}
    for kind in ("none", recompute):
        policy = PolicyModel.build(architecture, Layout(), torch.float32, recompute=kind)
        weights.load(policy, architecture, qwen3.directory)
        seen: dict[int, int] = {}

        def note(tensor: Tensor, seen: dict[int, int] = seen) -> Tensor:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with saved_tensors_hooks(note, lambda tensor: tensor):
            policy(pack)
        kept[kind] = sum(seen.values())
    membership.leave()
    assert kept[recompute] < kept["none"]
