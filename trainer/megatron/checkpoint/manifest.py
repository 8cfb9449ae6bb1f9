"""The manifest of a checkpoint: which learner it belongs to, which files it has, and everything that is not a tensor."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from megatron.core import parallel_state

from trainer.learner.errors import CheckpointDamaged, CheckpointError
from trainer.megatron.checkpoint.files import WrittenFile
from trainer.megatron.model.policy_model import PolicyModel
from trainer.megatron.networks import Networks

MANIFEST = "manifest.json"
FORMAT = 2


def manifest(networks: Networks, state: Mapping[str, object]) -> dict[str, Any]:
    """The manifest of the learner's present state, without the list of files."""
    policy, critic = networks.policy, networks.critic
    content = {
        "format": FORMAT,
        "architecture": dataclasses.asdict(networks.architecture),
        "lora": _adapters_of(policy.model),
        "base": str(policy.model.base_dir),
        "arrangement": arrangement(),
        "steps": policy.stepper.num_steps,
        "critic_steps": None if critic is None else critic.stepper.num_steps,
        "state": dict(state),
    }
    plain: dict[str, Any] = json.loads(json.dumps(content))
    return plain


def read_manifest(path: Path, networks: Networks) -> dict[str, Any]:
    """The manifest of a complete checkpoint of such a learner; otherwise CheckpointError."""
    content = _parsed(path)
    _check_files(path, [WrittenFile(**file) for file in content["files"]])
    own = json.loads(json.dumps(dataclasses.asdict(networks.architecture)))
    _compare(path, content["architecture"], own)
    _compare_extras(
        path,
        saved=(content.get("lora", {}), content.get("critic_steps") is not None),
        own=(_adapters_of(networks.policy.model), networks.critic is not None),
    )
    return content


def _check_files(path: Path, files: Sequence[WrittenFile]) -> None:
    """The ranks share the reading, and all raise the error of one."""
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    found = [why for file in files[rank::ranks] if (why := file.damage(path)) is not None]
    damages = [found]
    if ranks > 1:
        damages = [[] for _ in range(ranks)]
        torch.distributed.all_gather_object(damages, found)
    if damage := [why for of_rank in damages for why in of_rank]:
        raise CheckpointDamaged(f"{path} is damaged: {'; '.join(damage)}")


def _parsed(path: Path) -> dict[str, Any]:
    try:
        text = (path / MANIFEST).read_text()
        content: dict[str, Any] = json.loads(text, object_pairs_hook=_with_numbers)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointDamaged(
            f"{path} is not a complete checkpoint: it has no {MANIFEST}"
        ) from None
    except json.JSONDecodeError as error:
        raise CheckpointDamaged(f"{path / MANIFEST} is damaged: {error}") from None
    if content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has format {content.get('format')}, not {FORMAT}; move it away, and training continues "
            "from the policy recorded last with a new optimizer"
        )
    return content


def _with_numbers(pairs: list[tuple[str, Any]]) -> dict[str | int, Any]:
    """Megatron numbers the parts of an optimizer; JSON has made strings of the numbers."""
    return {int(key) if key.isdigit() else key: value for key, value in pairs}


def _compare(path: Path, saved: dict[str, Any], own: dict[str, Any]) -> None:
    for name, value in own.items():
        if saved.get(name) != value:
            raise CheckpointError(
                f"{path} is a checkpoint of another model: {name} is {saved.get(name)!r}, not {value!r}"
            )


def _compare_extras(
    path: Path, *, saved: tuple[dict[str, Any], bool], own: tuple[dict[str, Any], bool]
) -> None:
    """Adapters and critic must be continued: a difference is an error, because the missing part would start anew."""
    if saved != own:
        its_parts, own_parts = (
            f"{_named(adapters)} and {'a critic' if has_critic else 'no critic'}"
            for adapters, has_critic in (saved, own)
        )
        raise CheckpointError(
            f"{path} is a checkpoint with {its_parts}, and this learner has {own_parts}; use the settings of the checkpoint, or another TURNGATE_TRAINER_CHECKPOINT_DIR"
        )


def _adapters_of(model: PolicyModel) -> dict[str, Any]:
    return {} if model.lora is None else model.lora.shape


def _named(adapters: dict[str, Any]) -> str:
    listed = ", ".join(f"{name} {value}" for name, value in adapters.items())
    return f"adapters of {listed}" if listed else "no adapters"


def arrangement() -> list[int]:
    """Random states can be loaded only if this is the same as when they were saved."""
    return [*grid(), parallel_state.get_expert_model_parallel_world_size()]


def grid() -> list[int]:
    return [
        parallel_state.get_pipeline_model_parallel_world_size(),
        parallel_state.get_tensor_model_parallel_world_size(),
        parallel_state.get_data_parallel_world_size(with_context_parallel=True),
    ]
