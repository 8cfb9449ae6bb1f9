"""Checkpoints: model, optimizer, schedule, random state and the caller's own, in Megatron's distributed format.

A directory appears under its name only when it is whole: it is written under another name, listed in
`manifest.json` file by file, and renamed. Loading compares the list before it touches a weight.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from megatron.core import dist_checkpointing, parallel_state
from megatron.core.dist_checkpointing.mapping import ShardedObject
from megatron.core.tensor_parallel import get_cuda_rng_tracker
from torch.distributed import ProcessGroup

from trainer.megatron.architecture import Architecture
from trainer.megatron.errors import CheckpointError
from trainer.megatron.model import PolicyModel
from trainer.megatron.network import Network
from trainer.megatron.snapshot import Snapshot

MANIFEST = "manifest.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Draft:
    """A checkpoint that is not written yet; what training does meanwhile is not in it."""

    path: Path
    manifest: dict[str, Any]
    snapshot: Snapshot

    @classmethod
    def of(
        cls,
        path: Path,
        policy: Network[PolicyModel],
        architecture: Architecture,
        state: Mapping[str, object],
    ) -> Self:
        snapshot = Snapshot.take(_sharded_state(policy, loading=False))
        return cls(path, _manifest(policy, architecture, state), snapshot)

    def write(self, group: ProcessGroup) -> None:
        """All ranks write to one directory, which they must share; OSError on all of them if it cannot be written."""
        try:
            _on_primary(self._start, group)
            self.snapshot.write_shards(self._partial, group)
            _on_primary(self._finish, group)
        finally:
            if torch.distributed.get_rank() == 0:
                shutil.rmtree(self._partial, ignore_errors=True)

    @property
    def _partial(self) -> Path:
        return self.path.with_name(f".{self.path.name}.partial")

    def _start(self) -> None:
        if self.path.exists():
            raise CheckpointError(f"{self.path} exists; a checkpoint is never overwritten")
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        self.snapshot.write_common(self._partial)

    def _finish(self) -> None:
        """Put everything on the disk with the list of it beside it, and give it its name."""
        files = list(self._partial.iterdir())
        sizes = {file.name: file.stat().st_size for file in files}
        manifest = self._partial / MANIFEST
        manifest.write_text(json.dumps(self.manifest | {"files": sizes}, indent=1))
        for path in (*files, manifest, self._partial):
            _sync(path)
        self._partial.rename(self.path)
        _sync(self.path.parent)


def _on_primary(action: Callable[[], None], group: ProcessGroup) -> None:
    """Rank 0 acts; what stops it is raised on every rank, none of which then waits for it."""
    outcome: list[Exception | None] = [None]
    if torch.distributed.get_rank() == 0:
        try:
            action()
        except (OSError, CheckpointError) as error:
            outcome = [error]
    torch.distributed.broadcast_object_list(outcome, src=0, group=group)
    if outcome[0] is not None:
        raise outcome[0]


def load(path: Path, policy: Network[PolicyModel], architecture: Architecture) -> dict[str, object]:
    model = policy.model
    manifest = _read_manifest(path, model, architecture)
    sharded = _sharded_state(policy, loading=True)
    if manifest["arrangement"] != _arrangement():
        del sharded["random"]  # each rank's own; it means nothing under another layout
    loaded = dist_checkpointing.load(sharded, str(path))
    model.load_state_dict(loaded["model"])
    model.base_dir = Path(manifest.get("base", model.base_dir))  # whose frozen weights these are
    policy.stepper.resume(loaded["optimizer"], steps=manifest["steps"])
    if "random" in loaded:
        _set_random_state(loaded["random"])
    state: dict[str, object] = manifest["state"]
    return state


def _sharded_state(policy: Network[PolicyModel], *, loading: bool) -> dict[str, Any]:
    metadata = {
        "distrib_optim_sharding_type": "fully_reshardable",
        "distrib_optim_fully_reshardable_mem_efficient": False,
        "chained_optim_avoid_prefix": True,
        "singleton_local_shards": False,
        "dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True),
    }
    weights = policy.model.sharded_state_dict(metadata=metadata)
    optimizer = policy.stepper.optimizer.sharded_state_dict(
        dict(weights), is_loading=loading, metadata=metadata
    )
    return {"model": weights, "optimizer": optimizer, "random": _random_state()}


def _random_state() -> ShardedObject:
    state = {"torch": torch.get_rng_state(), "megatron": get_cuda_rng_tracker().get_states()}
    return ShardedObject("random", state, tuple(_grid()), _place(), replica_id=0)


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    get_cuda_rng_tracker().set_states(state["megatron"])


def _arrangement() -> list[int]:
    return [*_grid(), parallel_state.get_expert_model_parallel_world_size()]


def _grid() -> list[int]:
    return [
        parallel_state.get_pipeline_model_parallel_world_size(),
        parallel_state.get_tensor_model_parallel_world_size(),
        parallel_state.get_data_parallel_world_size(with_context_parallel=True),
    ]


def _place() -> tuple[int, int, int]:
    return (
        parallel_state.get_pipeline_model_parallel_rank(),
        parallel_state.get_tensor_model_parallel_rank(),
        parallel_state.get_data_parallel_rank(with_context_parallel=True),
    )


def _manifest(
    policy: Network[PolicyModel], architecture: Architecture, state: Mapping[str, object]
) -> dict[str, Any]:
    manifest = {
        "format": FORMAT,
        "architecture": dataclasses.asdict(architecture),
        "lora": _adapters_of(policy.model),
        "base": str(policy.model.base_dir),
        "arrangement": _arrangement(),
        "steps": policy.stepper.num_steps,
        "state": dict(state),
    }
    plain: dict[str, Any] = json.loads(json.dumps(manifest))
    return plain


def _adapters_of(model: PolicyModel) -> dict[str, object]:
    return {} if model.lora is None else model.lora.shape


def _read_manifest(path: Path, model: PolicyModel, architecture: Architecture) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((path / MANIFEST).read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{path} is no finished checkpoint: it has no {MANIFEST}") from None
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path / MANIFEST} is damaged: {error}") from None
    if manifest.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {manifest.get('format')}, not {FORMAT}")
    for name, size in manifest["files"].items():
        file = path / name
        if not file.exists() or file.stat().st_size != size:
            raise CheckpointError(f"{path} is damaged: {name} is missing or not {size} bytes long")
    _compare(
        path, manifest["architecture"], json.loads(json.dumps(dataclasses.asdict(architecture)))
    )
    _compare_adapters(path, manifest.get("lora", {}), _adapters_of(model))
    return manifest


def _compare_adapters(path: Path, saved: dict[str, Any], own: dict[str, Any]) -> None:
    if saved != own:
        theirs, ours = (
            "adapters of " + ", ".join(f"{name} {value}" for name, value in shape.items())
            if shape
            else "no adapters"
            for shape in (saved, own)
        )
        raise CheckpointError(
            f"{path} is a checkpoint with {theirs}, and this learner has {ours}; set them alike, or start anew"
        )


def _compare(path: Path, saved: dict[str, Any], own: dict[str, Any]) -> None:
    for name, value in own.items():
        if saved.get(name) != value:
            raise CheckpointError(
                f"{path} is a checkpoint of another model: {name} is {saved.get(name)!r}, not {value!r}"
            )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
