"""Checkpoints: models, optimizers, schedules, random state and the caller's state, in Megatron's distributed format.

A directory appears under its name when it is complete: it is written under another name, its files are
listed in `manifest.json`, and it is renamed. Loading compares the list before any weight is changed.
"""

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
from megatron.core.dist_checkpointing.utils import add_prefix_for_sharding
from megatron.core.tensor_parallel import get_cuda_rng_tracker
from torch.distributed import ProcessGroup

from trainer.learner.errors import CheckpointError
from trainer.megatron.checkpoint.manifest import (
    MANIFEST,
    arrangement,
    grid,
    manifest,
    read_manifest,
)
from trainer.megatron.checkpoint.snapshot import RankSnapshot
from trainer.megatron.model.network import Network
from trainer.megatron.networks import Networks

CRITIC = "critic"


@dataclass(frozen=True, slots=True)
class Draft:
    """A checkpoint that is not written yet; later training steps do not change it."""

    path: Path
    manifest: dict[str, Any]
    snapshot: RankSnapshot

    @classmethod
    def of(cls, path: Path, networks: Networks, state: Mapping[str, object]) -> Self:
        snapshot = RankSnapshot.take(_sharded_state(networks, loading=False))
        return cls(path, manifest(networks, state), snapshot)

    def write(self, group: ProcessGroup) -> None:
        """All ranks write to one shared directory; OSError on all of them if it cannot be written."""
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
        """Flush all files and their list to the disk, then rename the directory."""
        files = list(self._partial.iterdir())
        sizes = {file.name: file.stat().st_size for file in files}
        listing = self._partial / MANIFEST
        listing.write_text(json.dumps(self.manifest | {"files": sizes}, indent=1))
        for path in (*files, listing, self._partial):
            _sync(path)
        self._partial.rename(self.path)
        _sync(self.path.parent)


def _on_primary(action: Callable[[], None], group: ProcessGroup) -> None:
    """Rank 0 runs the action; its error is raised on every rank, so that no rank waits for it."""
    outcome: list[Exception | None] = [None]
    if torch.distributed.get_rank() == 0:
        try:
            action()
        except (OSError, CheckpointError) as error:
            outcome = [error]
    torch.distributed.broadcast_object_list(outcome, src=0, group=group)
    if outcome[0] is not None:
        raise outcome[0]


def load(path: Path, networks: Networks) -> dict[str, object]:
    saved = read_manifest(path, networks)
    sharded = _sharded_state(networks, loading=True)
    if saved["arrangement"] != arrangement():
        del sharded["random"]  # it belongs to one rank and has no meaning in another layout
    loaded = dist_checkpointing.load(sharded, str(path))
    model = networks.policy.model
    model.base_dir = Path(saved.get("base", model.base_dir))  # whose frozen weights these are
    _resume(networks.policy, loaded, steps=saved["steps"])
    if networks.critic is not None:
        _resume(networks.critic, loaded[CRITIC], steps=saved["critic_steps"])
    if "random" in loaded:
        _set_random_state(loaded["random"])
    state: dict[str, object] = saved["state"]
    return state


def _resume(network: Network[Any], loaded: dict[str, Any], *, steps: int) -> None:
    network.model.load_state_dict(loaded["model"])
    network.stepper.resume(loaded["optimizer"], steps=steps)


def _sharded_state(networks: Networks, *, loading: bool) -> dict[str, Any]:
    state = _sharded(networks.policy, loading=loading)
    if networks.critic is not None:
        state[CRITIC] = _sharded(networks.critic, loading=loading)
        # Its tensors have the names of the policy's, and are in the same directory.
        add_prefix_for_sharding(state[CRITIC], f"{CRITIC}.")
    return state | {"random": _random_state()}


def _sharded(network: Network[Any], *, loading: bool) -> dict[str, Any]:
    metadata = {
        "distrib_optim_sharding_type": "fully_reshardable",
        "distrib_optim_fully_reshardable_mem_efficient": False,
        "chained_optim_avoid_prefix": True,
        "singleton_local_shards": False,
        "dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True),
    }
    weights = network.model.sharded_state_dict(metadata=metadata)
    optimizer = network.stepper.optimizer.sharded_state_dict(
        dict(weights), is_loading=loading, metadata=metadata
    )
    return {"model": weights, "optimizer": optimizer}


def _random_state() -> ShardedObject:
    state = {"torch": torch.get_rng_state(), "megatron": get_cuda_rng_tracker().get_states()}
    return ShardedObject("random", state, tuple(grid()), _place(), replica_id=0)


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    get_cuda_rng_tracker().set_states(state["megatron"])


def _place() -> tuple[int, int, int]:
    return (
        parallel_state.get_pipeline_model_parallel_rank(),
        parallel_state.get_tensor_model_parallel_rank(),
        parallel_state.get_data_parallel_rank(with_context_parallel=True),
    )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
