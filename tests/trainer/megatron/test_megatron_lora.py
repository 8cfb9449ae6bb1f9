"""Low-rank adapters: only they train, merged they are the same policy, and what they cannot adapt is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from tests.trainer.megatron.conftest import Reference, random_reference
from tests.trainer.megatron.packing import score_function
from trainer.job import lora as asked_for
from trainer.megatron.errors import CheckpointError, LoraNotSupported
from trainer.megatron.learner import Learner
from trainer.megatron.lora import Lora
from trainer.megatron.microbatch import Microbatch, TrainBatch
from trainer.model_files import write_model
from trainer.settings import Settings

Create = Callable[..., Learner]

ALL = Lora(rank=4, alpha=8.0)
SOME = Lora(rank=3, alpha=8.0, target_modules=("q_proj", "v_proj", "up_proj", "o_proj"))


def trained(learner: Learner, batch: TrainBatch, steps: int = 3) -> Learner:
    for _ in range(steps):
        assert not learner.step(batch, score_function).skipped
    return learner


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
    if reference.model.config.model_type == "qwen3_moe":
        lora = Lora(rank=4, alpha=8.0, target_modules=("q_proj", "k_proj", "o_proj"))
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


def test_a_step_is_the_one_a_low_rank_product_takes(
    qwen3: Reference, create: Create, one_pack: Microbatch
) -> None:
    """The first step moves W by alpha / rank x (dB) A, so by no more than rank directions of each projection."""
    learner = create(qwen3.directory, lora=ALL)
    before = dict(learner.export())
    trained(learner, TrainBatch((one_pack,)), steps=1)
    after = dict(learner.export())
    for name in projections(qwen3, ALL):
        change = (after[f"{name}.weight"] - before[f"{name}.weight"]).double()
        sizes = torch.linalg.svdvals(change)
        assert sizes[ALL.rank - 1] > 1e-3 * sizes[0]
        assert sizes[ALL.rank] < 1e-4 * sizes[0]


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
    (measured,) = learner.logprobs(batch, of=frozen)
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
    unbroken.save(tmp_path / "three", {})
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
    create(qwen3.directory, lora=ALL).save(tmp_path / "one", {})
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
