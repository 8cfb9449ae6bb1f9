"""Low-rank adapters: only they train, merged they are the same policy, and what they cannot adapt is refused."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from tests.trainer.megatron.conftest import Reference, random_reference
from tests.trainer.megatron.packing import score_function
from trainer.learner.errors import CheckpointError, LoraNotSupported
from trainer.learner.lora import Lora
from trainer.learner.microbatch import Microbatch, TrainBatch
from trainer.learner_settings import lora as asked_for
from trainer.megatron.learner import MegatronLearner
from trainer.publish.adapter_files import write_adapter
from trainer.publish.weight_files import write_model
from trainer.settings import Settings

Create = Callable[..., MegatronLearner]

ALL = Lora(rank=4, alpha=8.0)
SOME = Lora(rank=3, alpha=8.0, target_modules=("q_proj", "v_proj", "up_proj", "o_proj"))


def trained(learner: MegatronLearner, batch: TrainBatch, steps: int = 3) -> MegatronLearner:
    for _ in range(steps):
        assert not learner.step(batch, score_function).skipped
    return learner


def fitting(reference: Reference, lora: Lora) -> Lora:
    """Experts have no adapters."""
    if reference.model.config.model_type != "qwen3_moe":
        return lora
    return replace(lora, target_modules=("q_proj", "k_proj", "v_proj", "o_proj"))


def projections(reference: Reference, lora: Lora) -> dict[str, torch.nn.Linear]:
    return {
        name: module
        for name, module in reference.model.named_modules()
        if name.rpartition(".")[2] in lora.target_modules
    }


@pytest.mark.parametrize("lora", [ALL, SOME])
def test_the_optimizer_holds_adapter_state_only(
    qwen3: Reference, create: Create, tmp_path: Path, lora: Lora
) -> None:
    """It moves rank x (inputs + outputs) numbers for each projection, and no others."""
    learner = create(qwen3.directory, lora=lora)
    adapted = projections(qwen3, lora).values()
    expected = sum(lora.rank * (m.in_features + m.out_features) for m in adapted)
    assert learner.num_trained == expected


@pytest.mark.parametrize("lora", [ALL, SOME])
def test_merged_and_unmerged_logprobs_agree(
    reference: Reference, create: Create, one_pack: Microbatch, tmp_path: Path, lora: Lora
) -> None:
    """A plain learner of the exported weights has the adapted one's logprobs to 1e-5; only targets moved."""
    lora = fitting(reference, lora)
    batch = TrainBatch((one_pack,))
    learner = create(reference.directory, lora=lora)
    before = dict(learner.export())
    torch.testing.assert_close(before, dict(create(reference.directory).export()), atol=0, rtol=0)
    (start,) = learner.logprobs(batch)
    trained(learner, batch)
    (unmerged,) = learner.logprobs(batch)
    assert (unmerged - start).abs().max() > 1e-2
    after = dict(learner.export())
    moved = {name for name, weight in after.items() if not torch.equal(before[name], weight)}
    assert moved == {f"{name}.weight" for name in projections(reference, lora)}
    write_model(tmp_path, source=reference.directory, tensors=after.items())
    (merged,) = create(tmp_path).logprobs(batch)
    torch.testing.assert_close(merged, unmerged, atol=1e-5, rtol=1e-5)


def test_an_exported_adapter_is_the_policy(
    reference: Reference, create: Create, one_pack: Microbatch
) -> None:
    """W + alpha / rank x B A in the Hugging Face model, by PEFT's names, gives the learner's logprobs to 1e-5."""
    lora = fitting(reference, SOME)
    batch = TrainBatch((one_pack,))
    learner = trained(create(reference.directory, lora=lora), batch)
    exported = dict(learner.export_adapters())
    adapted = copy.deepcopy(reference)
    for name, projection in projections(adapted, lora).items():
        a, b = (exported.pop(f"base_model.model.{name}.lora_{part}.weight") for part in "AB")
        projection.weight.data += lora.alpha / lora.rank * (b @ a)
    assert not exported
    (measured,) = learner.logprobs(batch)
    torch.testing.assert_close(measured, adapted.logprobs(one_pack), atol=1e-5, rtol=1e-5)


def test_a_step_goes_down_the_gradient_of_the_product(
    qwen3: Reference, create: Create, one_pack: Microbatch
) -> None:
    """With epsilon far above the gradient Adam's first step is the gradient: dB = alpha / rank x dW A^T."""
    learner = create(
        qwen3.directory, lora=ALL, learning_rate=1e3, epsilon=1e3, clip_gradient_norm=0.0
    )
    started = dict(learner.export_adapters())
    trained(learner, TrainBatch((one_pack,)), steps=1)
    stepped = dict(learner.export_adapters())
    qwen3.model.zero_grad()
    score_function(qwen3.logprobs(one_pack), torch.zeros(1), one_pack)[0].backward()
    for name, projection in projections(qwen3, ALL).items():
        a, b = (f"base_model.model.{name}.lora_{part}.weight" for part in "AB")
        assert torch.equal(stepped[a], started[a])  # B was zero, so A has no gradient yet
        assert projection.weight.grad is not None
        expected = -ALL.scale * projection.weight.grad @ started[a].t()
        torch.testing.assert_close(
            stepped[b], expected, rtol=5e-3, atol=1e-4 * expected.abs().max().item()
        )


def test_an_adapter_directory_says_what_it_belongs_to(
    qwen3: Reference, create: Create, tmp_path: Path
) -> None:
    """It has PEFT's two files: the factors in their shapes, and rank, alpha, projections and base."""
    learner = create(qwen3.directory, lora=SOME)
    write_adapter(tmp_path, learner.export_adapters(), SOME, base_dir=qwen3.directory)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    for name, projection in projections(qwen3, SOME).items():
        shapes = [tensors.pop(f"base_model.model.{name}.lora_{part}.weight").shape for part in "AB"]
        assert shapes == [(3, projection.in_features), (projection.out_features, 3)]
    assert not tensors
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 3, 8)
    assert config["target_modules"] == ["o_proj", "q_proj", "up_proj", "v_proj"]
    assert config["base_model_name_or_path"] == str(qwen3.directory)


def test_dropout_acts_in_steps_and_not_in_measurements(
    qwen3: Reference, create: Create, one_pack: Microbatch
) -> None:
    """Logprobs repeat bit for bit, and the weights a step leads to depend on what was dropped."""
    batch = TrainBatch((one_pack,))
    dropping = Lora(rank=4, alpha=8.0, dropout=0.5)
    learners = [trained(create(qwen3.directory, lora=lora), batch) for lora in (dropping, ALL)]
    (first,), (second,) = learners[0].logprobs(batch), learners[0].logprobs(batch)
    assert torch.equal(first, second)
    (undropped,) = learners[1].logprobs(batch)
    assert (first - undropped).abs().max() > 1e-3


def test_a_frozen_policy_is_measured_without_the_adapters(
    qwen3: Reference, create: Create, one_pack: Microbatch
) -> None:
    """The starting policy's logprobs are the same beside a trained adapter, which is left as it was."""
    batch = TrainBatch((one_pack,))
    learner = create(qwen3.directory, lora=ALL)
    (start,) = learner.logprobs(batch)
    (trained_logprobs,) = trained(learner, batch).logprobs(batch)
    frozen = learner.freeze(qwen3.directory)
    (measured,) = frozen.logprobs(batch)
    assert torch.equal(measured, start)
    assert torch.equal(learner.logprobs(batch)[0], trained_logprobs)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_resuming_adapters_is_bit_equal_to_not_stopping(
    qwen3: Reference, create: Create, one_pack: Microbatch, tmp_path: Path, dropout: float
) -> None:
    """Factors, moments and the random state of dropout come back; another seed's A is replaced."""
    batch = TrainBatch((one_pack,))
    lora = Lora(rank=4, alpha=8.0, dropout=dropout)
    unbroken = trained(create(qwen3.directory, lora=lora), batch)
    unbroken.begin_save(tmp_path / "three", {}).result()
    resumed = create(qwen3.directory, lora=lora, seed=9)
    resumed.load(tmp_path / "three")
    expected = [unbroken.step(batch, score_function) for _ in range(2)]
    resumed.load(tmp_path / "three")
    assert [resumed.step(batch, score_function) for _ in range(2)] == expected


@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=8.0), Lora(4, 4.0), SOME])
def test_a_checkpoint_of_other_adapters_is_refused(
    qwen3: Reference, create: Create, tmp_path: Path, lora: Lora | None
) -> None:
    """Another rank, alpha or set of projections, and none at all, are named on both sides."""
    create(qwen3.directory, lora=ALL).begin_save(tmp_path / "one", {}).result()
    other = create(qwen3.directory, lora=lora)
    before = dict(other.export())
    with pytest.raises(CheckpointError, match="adapters of rank 4, alpha 8"):
        other.load(tmp_path / "one")
    assert all(torch.equal(before[name], weight) for name, weight in other.export())


@pytest.mark.parametrize(
    ("name", "lora", "message"),
    [
        ("qwen3", Lora(4, 8.0, ("query",)), "no projection is called 'query'; choose from q_proj"),
        ("qwen3", Lora(4, 8.0, ()), "a projection to adapt"),
        ("qwen3", Lora(0, 8.0), "a rank of 1 or more"),
        ("qwen3-moe", ALL, "down_proj belongs to experts, which have no adapters"),
    ],
)
def test_adapters_that_the_model_cannot_have_are_refused(
    create: Create, tmp_path: Path, name: str, lora: Lora, message: str
) -> None:
    """The error says what is missing or cannot be adapted."""
    directory = random_reference(name, tmp_path).directory
    with pytest.raises(LoraNotSupported, match=message):
        create(directory, lora=lora)


def test_settings_ask_for_adapters_by_rank(tmp_path: Path) -> None:
    """Rank 0 asks for none, a list of projections for those, and one that does not exist is refused at start."""
    settings = Settings(redis_url="redis://unused", model_dir=tmp_path)
    assert asked_for(settings) is None
    chosen = Settings(
        redis_url="redis://unused",
        model_dir=tmp_path,
        lora_rank=8,
        lora_target_modules="q_proj, v_proj",  # type: ignore[arg-type]
    )
    assert asked_for(chosen) == Lora(rank=8, alpha=32.0, target_modules=("q_proj", "v_proj"))
    with pytest.raises(ValidationError, match="'q_proj', 'k_proj'"):
        Settings(
            redis_url="redis://unused",
            model_dir=tmp_path,
            lora_target_modules="query",  # type: ignore[arg-type]
        )
