"""Random models of each architecture, made by transformers, and learners on them."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from tests.trainer.megatron.packing import batch
from trainer.learner.microbatch import Microbatch
from trainer.learner.optimizer import OptimizerSettings
from trainer.megatron.learner import MegatronLearner

VOCABULARY = 131  # odd, so that it must be padded to be split


@dataclass(frozen=True)
class Reference:
    """A transformers model and the directory it was saved to."""

    model: Any
    directory: Path

    def logprobs(self, part: Microbatch, temperature: float = 1.0) -> Tensor:
        """[T], aligned as the learner's, differentiable, in the model's own precision."""
        bounds = part.cu_seqlens.tolist()
        pieces = []
        for start, end in itertools.pairwise(bounds):
            ids = part.tokens[start:end]
            logits = self.model(ids[None]).logits[0, :-1] / temperature
            chosen = logits.log_softmax(-1).gather(1, ids[1:, None])[:, 0]
            pieces += [chosen.new_zeros(1), chosen]
        return torch.cat(pieces)


_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,  # large, so that mistakes show
}
_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_MODELS: dict[str, Callable[[], Any]] = {
    "qwen3": lambda: transformers.Qwen3Config(**_SIZES, head_dim=24, tie_word_embeddings=True),
    "qwen3-untied": lambda: transformers.Qwen3Config(
        **_SIZES, head_dim=24, rope_parameters={"rope_type": "default", "rope_theta": 1e6}
    ),
    "qwen3-moe": lambda: transformers.Qwen3MoeConfig(
        **_SIZES,
        head_dim=24,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=48,
        norm_topk_prob=True,
    ),
    "qwen2": lambda: transformers.Qwen2Config(**_SIZES),
    "llama": lambda: transformers.LlamaConfig(**_SIZES),
    "llama3": lambda: transformers.LlamaConfig(**_SIZES, rope_parameters=_LLAMA3_ROPE),
}


def random_reference(name: str, directory: Path, seed: int = 0) -> Reference:
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(_MODELS[name]()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # norms start at one and biases at zero, which hides mix-ups
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(directory)
    return Reference(model, directory)


@pytest.fixture(scope="session", params=sorted(_MODELS))
def reference(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Reference:
    """Each architecture in turn."""
    return random_reference(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return random_reference("qwen3", tmp_path_factory.mktemp("qwen3"))


@pytest.fixture
def create() -> Iterator[Callable[..., MegatronLearner]]:
    """Makes learners that leave when the test ends."""
    learners = []

    def make(directory: Path, **settings: Any) -> MegatronLearner:
        names = {"dtype", "seed", "lora", "recompute", "critic"} & settings.keys()
        kept = {name: settings.pop(name) for name in names}
        options = {"learning_rate": 1e-2} | settings
        learners.append(MegatronLearner.create(directory, OptimizerSettings(**options), **kept))
        return learners[-1]

    yield make
    for learner in reversed(learners):
        learner.close()


@pytest.fixture
def packs() -> list[list[Tensor]]:
    """Fourteen sequences of one to a hundred tokens in three packs."""
    generator = torch.Generator().manual_seed(1)
    lengths = ([7, 100, 33, 2], [1, 20, 20, 5, 64], [3, 3, 50, 2, 11])
    return [
        [torch.randint(0, VOCABULARY, (n,), generator=generator) for n in pack] for pack in lengths
    ]


@pytest.fixture
def one_pack(packs: list[list[Tensor]]) -> Microbatch:
    return batch([sequence for pack in packs for sequence in pack]).microbatches[0]
