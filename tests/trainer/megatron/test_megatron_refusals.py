"""Models, weights and layouts that cannot work are refused in words, before a weight is touched."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.trainer.megatron.conftest import Reference, random_reference
from trainer.learner.errors import LayoutError, ModelNotSupported, WeightsMismatch
from trainer.learner.layout import Layout
from trainer.learner.optimizer import OptimizerSettings
from trainer.megatron.architecture import Architecture
from trainer.megatron.configuration import check_fits
from trainer.megatron.learner import MegatronLearner

Create = Callable[..., MegatronLearner]


def copy_of(reference: Reference, target: Path) -> Path:
    for name in ("config.json", "model.safetensors"):
        (target / name).write_bytes((reference.directory / name).read_bytes())
    return target


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["GptOssForCausalLM"]}, "architecture 'GptOssForCausalLM'; supported:"),
        (
            {"architectures": ["Qwen3VLForConditionalGeneration"]},
            "architecture 'Qwen3VLForConditionalGeneration'",
        ),
        ({"architectures": None}, "architecture 'unnamed'"),
        ({"attention_bias": True}, "attention_bias = True"),
        ({"mlp_only_layers": [1]}, r"mlp_only_layers = \[1\]"),
        ({"use_sliding_window": True}, "use_sliding_window = True"),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rope type 'yarn'"),
    ],
)
def test_a_model_we_would_get_wrong_is_refused(
    qwen3: Reference, create: Create, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    """The error names the architecture or option that is not implemented."""
    directory = copy_of(qwen3, tmp_path)
    config = json.loads((directory / "config.json").read_text()) | change
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelNotSupported, match=message):
        create(directory)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "does not exist"),
        ("{", "is not JSON"),
        ('{"architectures": ["LlamaForCausalLM"]}', "has no"),
    ],
)
def test_a_directory_without_a_usable_config_is_refused(
    create: Create, tmp_path: Path, config: str | None, message: str
) -> None:
    """A missing, broken or incomplete config.json is named."""
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelNotSupported, match=message):
        create(tmp_path)


def drop(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["model.layers.1.mlp.up_proj.weight"]


def add(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.layers.2.mlp.up_proj.weight"] = torch.zeros(96, 64)


def reshape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.norm.weight"] = torch.zeros(63)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, "missing: model.layers.1.mlp.up_proj.weight"),
        (add, "unexpected: model.layers.2.mlp.up_proj.weight"),
        (reshape, r"of another shape: model.norm.weight \(63,\) instead of \(64,\)"),
    ],
)
def test_weights_that_do_not_fit_the_config_are_refused(
    qwen3: Reference,
    create: Create,
    tmp_path: Path,
    change: Callable[[dict[str, torch.Tensor]], None],
    message: str,
) -> None:
    """The error says which tensor is missing, unexpected or of another shape."""
    directory = copy_of(qwen3, tmp_path)
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors")
    with pytest.raises(WeightsMismatch, match=message):
        create(directory)


def test_a_damaged_or_absent_weight_file_is_refused(
    qwen3: Reference, create: Create, tmp_path: Path
) -> None:
    """A truncated file and a missing file have different errors."""
    weights = copy_of(qwen3, tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WeightsMismatch, match="is damaged"):
        create(tmp_path)
    weights.unlink()
    with pytest.raises(WeightsMismatch, match="does not exist"):
        create(tmp_path)


def test_a_head_that_a_tied_model_stores_again_is_ignored(
    qwen3: Reference, create: Create, tmp_path: Path
) -> None:
    """Old exports of tied models carry lm_head.weight; it changes nothing."""
    directory = copy_of(qwen3, tmp_path)
    tensors = load_file(directory / "model.safetensors")
    save_file(tensors | {"lm_head.weight": torch.zeros(131, 64)}, directory / "model.safetensors")
    assert "lm_head.weight" not in dict(create(directory).export())


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (Layout(tensor_parallel=2), "1 processes cannot hold"),
        (Layout(pipeline_parallel=3), "1 processes cannot hold"),
        (Layout(context_parallel=2), "1 processes cannot hold"),
        (Layout(context_parallel=0), "cannot hold"),
        (Layout(expert_parallel=0), "cannot share experts"),
        (Layout(sequence_parallel=True), "needs tensor_parallel"),
        (Layout(tensor_parallel=0), "cannot hold"),
        (Layout(expert_parallel=2), "cannot share experts"),
    ],
)
def test_a_layout_that_the_processes_cannot_form_is_refused(
    qwen3: Reference, layout: Layout, message: str
) -> None:
    """The error says how many processes there are and how many the layout needs."""
    with pytest.raises(LayoutError, match=message):
        MegatronLearner.create(qwen3.directory, OptimizerSettings(1e-3), layout=layout)


@pytest.mark.parametrize(
    ("name", "layout", "message"),
    [
        ("qwen3", Layout(tensor_parallel=8), "4 attention heads cannot be split evenly over 8"),
        ("qwen3", Layout(tensor_parallel=4), "2 key-value heads cannot be split evenly over 4"),
        ("qwen3", Layout(pipeline_parallel=4), "2 layers cannot be split evenly over 4"),
        ("qwen3", Layout(expert_parallel=2), "has no experts to share"),
        ("qwen3-moe", Layout(expert_parallel=3), "4 experts cannot be split evenly over 3"),
        ("qwen3-moe", Layout(tensor_parallel=2), "needs sequence_parallel too"),
    ],
)
def test_a_layout_that_the_model_cannot_have_is_refused(
    tmp_path: Path, name: str, layout: Layout, message: str
) -> None:
    """The error names what cannot be split, or what goes wrong otherwise."""
    architecture = Architecture.read(random_reference(name, tmp_path).directory)
    with pytest.raises(LayoutError, match=message):
        check_fits(architecture, layout)
