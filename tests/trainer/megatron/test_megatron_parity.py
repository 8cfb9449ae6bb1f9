"""The Megatron model is the transformers model: same logprobs, same gradients, same files."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from tests.trainer.megatron.conftest import Reference
from tests.trainer.megatron.packing import batch, score_function
from trainer.learner.microbatch import Microbatch, TrainBatch
from trainer.megatron.architecture import Architecture
from trainer.megatron.learner import MegatronLearner

Create = Callable[..., MegatronLearner]


def test_logprobs_are_those_of_transformers(
    reference: Reference, create: Create, one_pack: Microbatch
) -> None:
    """Every architecture gives transformers' logprobs within 1e-5, packed against one by one."""
    (measured,) = create(reference.directory).logprobs(TrainBatch((one_pack,)))
    expected = reference.logprobs(one_pack).detach()
    assert expected.abs().max() > 5
    torch.testing.assert_close(measured, expected, atol=1e-5, rtol=0)


def test_logprobs_are_taken_at_each_tokens_temperature(
    qwen3: Reference, create: Create, one_pack: Microbatch
) -> None:
    """A token sampled at temperature t is measured under softmax(logits / t)."""
    hot = torch.arange(one_pack.num_tokens) % 2 == 0
    warm = one_pack.replace(temperatures=torch.where(hot, 1.5, 0.5))
    (measured,) = create(qwen3.directory).logprobs(TrainBatch((warm,)))
    expected = torch.where(hot, qwen3.logprobs(one_pack, 1.5), qwen3.logprobs(one_pack, 0.5))
    torch.testing.assert_close(measured, expected.detach(), atol=2e-5, rtol=0)


def test_tokens_that_were_not_sampled_have_no_logprob(
    qwen3: Reference, create: Create, one_pack: Microbatch
) -> None:
    """Where the action mask is False the logprob is 0, and elsewhere the mask changes nothing."""
    learner = create(qwen3.directory)
    mask = one_pack.action_mask & (torch.arange(one_pack.num_tokens) % 3 == 0)
    (masked,) = learner.logprobs(TrainBatch((one_pack.replace(action_mask=mask),)))
    (everything,) = learner.logprobs(TrainBatch((one_pack,)))
    torch.testing.assert_close(masked, everything.where(mask, 0.0), atol=1e-5, rtol=0)


def test_the_gradient_is_that_of_transformers_in_float64(
    reference: Reference, create: Create, one_pack: Microbatch
) -> None:
    """The step's gradient norm and its direction are those of the same loss on the float64 model."""
    learner = create(reference.directory, learning_rate=1.0, epsilon=1.0, clip_gradient_norm=0.0)
    before = dict(learner.export())
    metrics = learner.step(TrainBatch((one_pack,)), score_function)

    exact = transformers.AutoModelForCausalLM.from_pretrained(
        reference.directory,
        experts_implementation="eager",  # the grouped kernels know no float64
    ).double()
    loss, _ = score_function(
        Reference(exact, reference.directory).logprobs(one_pack), torch.zeros(1), one_pack
    )
    loss.backward()
    gradients = by_expert({n: p.grad for n, p in exact.named_parameters() if p.grad is not None})
    norm = torch.stack([g.norm() for g in gradients.values()]).norm().item()

    assert metrics.loss == pytest.approx(loss.item(), abs=1e-6)
    assert metrics.gradient_norm == pytest.approx(norm, rel=1e-5)
    for name, weight in learner.export():
        gradient = gradients[name]  # Adam's first step with epsilon 1 moves by g / (|g| + 1)
        torch.testing.assert_close(
            (before[name] - weight).double(), gradient / (gradient.abs() + 1), atol=2e-5, rtol=1e-4
        )


def by_expert(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """transformers 5 holds a layer's experts in two tensors and writes them to files one by one; so here."""
    found: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        prefix, experts, part = name.partition(".experts.")
        if not experts:
            found[name] = tensor
            continue
        for index, expert in enumerate(tensor):
            names = ("gate_proj", "up_proj") if part == "gate_up_proj" else (part,)
            for piece, kind in zip(expert.chunk(len(names)), names, strict=True):
                found[f"{prefix}.experts.{index}.{kind}.weight"] = piece
    return found


def test_export_gives_back_every_tensor_bit_for_bit(reference: Reference, create: Create) -> None:
    """The exported names are those of the files and every tensor is bit-equal."""
    exported = dict(create(reference.directory).export())
    files = load_file(reference.directory / "model.safetensors")
    assert exported.keys() == files.keys()
    assert all(torch.equal(exported[name], tensor) for name, tensor in files.items())


def test_bfloat16_weights_survive_the_round_trip(
    qwen3: Reference, create: Create, tmp_path: Path
) -> None:
    """A bfloat16 directory trained in bfloat16 exports the same bfloat16 bits."""
    files = load_file(qwen3.directory / "model.safetensors")
    files = {name: tensor.bfloat16() for name, tensor in files.items()}
    save_file(files, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((qwen3.directory / "config.json").read_bytes())
    exported = dict(create(tmp_path, dtype=torch.bfloat16).export())
    assert all(torch.equal(exported[name], tensor) for name, tensor in files.items())


def test_what_was_exported_does_not_move_with_the_next_step(
    qwen3: Reference, create: Create, one_pack: Microbatch
) -> None:
    """An export is a copy, and after a step the next one differs."""
    learner = create(qwen3.directory)
    first = dict(learner.export())
    kept = {name: tensor.clone() for name, tensor in first.items()}
    learner.step(TrainBatch((one_pack,)), score_function)
    assert all(torch.equal(first[name], tensor) for name, tensor in kept.items())
    assert not any(torch.equal(first[name], tensor) for name, tensor in learner.export())


def test_a_trained_policy_is_the_same_in_transformers(
    reference: Reference, create: Create, one_pack: Microbatch, tmp_path: Path
) -> None:
    """After steps, the exported directory gives the learner's own logprobs in transformers."""
    learner = create(reference.directory)
    for _ in range(3):
        learner.step(TrainBatch((one_pack,)), score_function)
    save_file(dict(learner.export()), tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_bytes((reference.directory / "config.json").read_bytes())
    trained = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    (measured,) = learner.logprobs(TrainBatch((one_pack,)))
    expected = Reference(trained, tmp_path).logprobs(one_pack).detach()
    torch.testing.assert_close(measured, expected, atol=2e-5, rtol=0)


def test_weights_split_over_many_files_load(
    qwen3: Reference, create: Create, tmp_path: Path
) -> None:
    """A directory with an index and several safetensors files loads as the single file does."""
    qwen3.model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    exported = dict(create(tmp_path).export())
    files = load_file(qwen3.directory / "model.safetensors")
    assert all(torch.equal(exported[name], tensor) for name, tensor in files.items())


def test_both_formats_of_rope_settings_mean_the_same() -> None:
    """`rope_parameters` of transformers 5 and `rope_theta` with `rope_scaling` read alike."""
    common = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 64,
        "intermediate_size": 96,
        "max_position_embeddings": 512,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "rms_norm_eps": 1e-6,
        "vocab_size": 131,
    }
    scaling = {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 64,
        "rope_type": "llama3",
    }
    new = common | {"rope_parameters": scaling | {"rope_theta": 5e5}}
    old = common | {"rope_theta": 5e5, "rope_scaling": scaling}
    older = common | {"rope_theta": 5e5, "rope_scaling": None}
    assert Architecture.from_config(new) == Architecture.from_config(old)
    assert Architecture.from_config(old).rope_theta == 5e5
    assert Architecture.from_config(older).rope_scaling is None


def test_microbatches_and_order_do_not_change_the_step(
    qwen3: Reference, create: Create, packs: list[list[torch.Tensor]]
) -> None:
    """One microbatch, three of them, or other orders and packs: the same loss, norm and weights to 1e-5."""
    together = [sequence for pack in packs for sequence in pack]
    outcomes = []
    for arrangement in (packs, packs[::-1], [together], [together[::-1]], [[s] for s in together]):
        learner = create(qwen3.directory, learning_rate=1.0, epsilon=1.0)
        metrics = learner.step(batch(*arrangement), score_function)
        outcomes.append((metrics, dict(learner.export())))
    (expected, weights), *others = outcomes
    for metrics, exported in others:
        assert metrics.loss == pytest.approx(expected.loss, abs=1e-6)
        assert metrics.gradient_norm == pytest.approx(expected.gradient_norm, rel=1e-5)
        assert metrics.sums["tokens"] == expected.sums["tokens"]
        for name, weight in weights.items():
            torch.testing.assert_close(exported[name], weight, atol=1e-5, rtol=0)


def test_config_json_of_the_reference_states_its_rope(reference: Reference) -> None:
    """The architecture that is read has the frequencies that transformers computes."""
    architecture = Architecture.read(reference.directory)
    expected = reference.model.model.rotary_emb.inv_freq
    torch.testing.assert_close(architecture.rope_frequencies(), expected, rtol=1e-6, atol=0)
    assert json.loads((reference.directory / "config.json").read_text())["vocab_size"] == 131
