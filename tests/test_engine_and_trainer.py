"""The engine and the trainer hold the same policy: same logprobs for the same ids, same bytes after a swap."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch
from torch import Tensor

from rollout.engine.generation import Chunk, GenerateRequest, SamplingParameters
from rollout.engine.sglang.sampling import sampling_params
from rollout.engine.swap import swap
from rollout.policies import PolicyStore
from tests.engines import ADMIN_KEY, checksums, connected, engine_process, start_engine
from trainer.learner.lora import Lora
from trainer.learner.microbatch import Microbatch, TrainBatch
from trainer.learner.optimizer import OptimizerSettings
from trainer.megatron.learner import MegatronLearner
from trainer.publish.adapter_files import write_adapter
from trainer.publish.weight_files import write_weights

pytestmark = pytest.mark.engine

PROMPTS = [
    [(7 * place + 3 * number) % 400 + 3 for place in range(12 + number)] for number in range(16)
]
LORA = Lora(rank=4, alpha=8.0)
ADAPTERS = (
    *("--enable-lora", "--lora-backend", "torch_native", "--max-lora-rank", str(LORA.rank)),
    *("--lora-target-modules", *LORA.target_modules),
)
SAMPLING = SamplingParameters(max_tokens=48, ignore_eos=True)


@pytest.fixture(scope="module")
def own_engine(model_dir: Path) -> Iterator[str]:
    """An engine of its own, because its weights change."""
    with start_engine(model_dir) as url:
        yield url


@pytest.fixture
def learner(model_dir: Path) -> Iterator[MegatronLearner]:
    with MegatronLearner.create(model_dir, OptimizerSettings(1e-2)) as learner:
        yield learner


@pytest.fixture
def adapter_engine(model_dir: Path) -> Iterator[str]:
    """An engine that may serve adapters beside its model."""
    with engine_process(model_dir, "--", *ADAPTERS) as engine:
        yield engine.url


async def sample(url: str) -> list[Chunk]:
    async with connected(url) as engine:
        return [
            await engine.generate(GenerateRequest(f"agreement-{number}", prompt, SAMPLING))
            for number, prompt in enumerate(PROMPTS)
        ]


def packed(outputs: list[Chunk]) -> TrainBatch:
    rows = [prompt + output.ids for prompt, output in zip(PROMPTS, outputs, strict=True)]
    masks = [
        [False] * len(prompt) + [True] * len(output.ids)
        for prompt, output in zip(PROMPTS, outputs, strict=True)
    ]
    mask = torch.tensor([flag for row in masks for flag in row])
    zeros = torch.zeros(len(mask))
    microbatch = Microbatch(
        tokens=torch.tensor([token for row in rows for token in row]),
        cu_seqlens=torch.tensor([0, *(len(row) for row in rows)]).cumsum(0).int(),
        action_mask=mask,
        advantages=zeros,
        behavior_logprobs=zeros,
        proximal_logprobs=zeros,
        weights=mask.float() / mask.sum(),
    )
    return TrainBatch((microbatch,))


def log_likelihood(
    logprobs: Tensor, _entropies: Tensor | None, microbatch: Microbatch
) -> tuple[Tensor, dict[str, Tensor]]:
    return -(microbatch.weights * logprobs).sum(), {}


def difference(learner: MegatronLearner, outputs: list[Chunk]) -> Tensor:
    """|trainer - engine| of every sampled token's logprob."""
    batch = packed(outputs)
    (logprobs,) = learner.logprobs(batch)
    reported = torch.tensor([value for output in outputs for value in output.logprobs])
    return (logprobs[batch.microbatches[0].action_mask] - reported).abs()


def checksum(*tensors: Tensor) -> str:
    """SGLang's hash of a weight: the first eight bytes of SHA-256 over its memory."""
    data = torch.cat(tensors).contiguous().view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(data).hexdigest()[:16]


def padded(embedding: Tensor) -> Tensor:
    """SGLang rounds the vocabulary up to a multiple of 64 with rows of zeros."""
    return torch.nn.functional.pad(embedding, (0, 0, 0, -len(embedding) % 64))


def expected_checksums(learner: MegatronLearner) -> dict[str, str]:
    """The trainer's own tensors under SGLang's names, which fuse q, k, v and gate, up."""
    tensors = dict(learner.export())
    embedding = tensors.pop("model.embed_tokens.weight")
    expected = {"model.embed_tokens.weight": checksum(padded(embedding))}
    for name, tensor in tensors.items():
        if name.endswith("q_proj.weight"):
            parts = [tensors[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            expected[name.replace("q_proj", "qkv_proj")] = checksum(*parts)
        elif name.endswith("gate_proj.weight"):
            up = tensors[name.replace("gate_proj", "up_proj")]
            expected[name.replace("gate_proj", "gate_up_proj")] = checksum(tensor, up)
        elif not name.endswith(("k_proj.weight", "v_proj.weight", "up_proj.weight")):
            expected[name] = checksum(tensor)
    return expected


async def test_trainer_and_engine_agree_on_logprobs_before_and_after_a_swap(
    learner: MegatronLearner, own_engine: str, model_dir: Path, tmp_path: Path
) -> None:
    """Mean |difference| of the logprobs of sampled tokens is below 1e-4, and every swapped tensor is bit-equal."""
    async with connected(own_engine) as control:
        before = await sample(own_engine)
        assert difference(learner, before).mean() < 1e-4

        for _ in range(3):
            assert not learner.step(packed(before), log_likelihood).skipped
        assert difference(learner, before).mean() > 1e-2

        policies = PolicyStore(tmp_path)
        starter = policies.adopt(model_dir, created=0)
        policy = policies.write(
            1,
            parent=starter.version,
            base_dir=Path(starter.path),
            write_weights=lambda directory: write_weights(directory, learner.export()),
            created=0,
        )
        (swapped,) = await swap([control], policy)
        assert swapped.ok, swapped.error

        after = await sample(own_engine)
        assert {v.version for output in after for v in output.versions} == {1}
        assert difference(learner, after).mean() < 1e-4
        served = await checksums(own_engine)
        expected = expected_checksums(learner)
        assert expected.items() <= served.items()
        assert set(served) - set(expected) <= {"lm_head.weight"}


async def sample_under(url: str, adapter: Path) -> list[Chunk]:
    """Load an adapter directory beside the engine's model and sample with it."""
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
        loading = {"lora_name": adapter.name, "lora_path": str(adapter)}
        loaded = await client.post("/load_lora_adapter", json=loading)
        assert loaded.json()["success"], loaded.text
        request = {
            "input_ids": PROMPTS,
            "sampling_params": sampling_params(SAMPLING),
            "return_logprob": True,
            "lora_path": [adapter.name] * len(PROMPTS),
        }
        reply = await client.post("/generate", json=request)
    outputs = [answer["meta_info"]["output_token_logprobs"] for answer in reply.json()]
    return [
        Chunk(ids=[token for _, token, _ in output], logprobs=[value for value, *_ in output])
        for output in outputs
    ]


async def test_the_engine_serves_an_exported_adapter(
    model_dir: Path, adapter_engine: str, tmp_path: Path
) -> None:
    """SGLang loads what the learner wrote: every logprob under the adapter is the learner's to 1e-4, and not the base's."""
    with MegatronLearner.create(model_dir, OptimizerSettings(1e-2), lora=LORA) as learner:
        before = packed(await sample(adapter_engine))
        for _ in range(3):
            assert not learner.step(before, log_likelihood).skipped
        write_adapter(tmp_path, learner.export_adapters(), LORA, base_dir=model_dir)
        outputs = await sample_under(adapter_engine, tmp_path)
        assert difference(learner, outputs).max() < 1e-4
        (base,) = learner.freeze(model_dir).logprobs(packed(outputs))
        (adapted,) = learner.logprobs(packed(outputs))
        assert (base - adapted).abs().max() > 1e-2
