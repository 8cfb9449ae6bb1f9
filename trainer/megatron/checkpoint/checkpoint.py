"""Checkpoints: weights, optimizer, random state and the caller's state, as safetensors and JSON.

A directory appears under its name when it is complete: it is written under another name, its files are
listed in `manifest.json`, and it is renamed. Loading compares the list before any weight is changed. Files say which part of
which whole tensor they have, so that a checkpoint continues under any layout.
"""

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from megatron.core import parallel_state
from megatron.core.dist_checkpointing.dict_utils import dict_list_map_inplace, merge
from megatron.core.dist_checkpointing.mapping import ShardedTensor, apply_factory_merges
from megatron.core.dist_checkpointing.state_dict_utils import load_preprocess
from megatron.core.dist_checkpointing.utils import add_prefix_for_sharding, extract_sharded_base
from megatron.core.tensor_parallel import get_cuda_rng_tracker
from torch import Tensor
from torch.distributed import ProcessGroup

from rollout.flush import flush
from trainer.learner.errors import CheckpointError
from trainer.megatron.checkpoint.files import WrittenFile
from trainer.megatron.checkpoint.manifest import (
    MANIFEST,
    arrangement,
    manifest,
    read_manifest,
)
from trainer.megatron.checkpoint.pieces import Piece, PieceReader
from trainer.megatron.checkpoint.snapshot import RANDOM, RankSnapshot, file_of
from trainer.megatron.model.network import Network
from trainer.megatron.networks import Networks

T = TypeVar("T")

CRITIC = "critic"
TORCH, MEGATRON = "torch", "megatron."  # names of random states


@dataclass(frozen=True, slots=True)
class Draft:
    """A checkpoint that is not written yet; later training steps do not change it."""

    path: Path
    manifest: dict[str, Any]
    snapshot: RankSnapshot

    @classmethod
    def of(cls, path: Path, networks: Networks, state: Mapping[str, object]) -> Self:
        snapshot = RankSnapshot.take(
            _sharded_state(networks, loading=False),
            _random_states(),
            rank=torch.distributed.get_rank(),
        )
        return cls(path, manifest(networks, state), snapshot)

    def write(self, group: ProcessGroup) -> None:
        """All ranks write to one shared directory; OSError on all of them if it cannot be written."""
        try:
            _on_primary(self._start, group)
            written = _on_all(
                lambda: (self.snapshot.write(self._partial), self.snapshot.pieces), group
            )
            _on_primary(partial(self._finish, written), group)
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

    def _finish(self, written: Sequence[tuple[WrittenFile, tuple[Piece, ...]]]) -> None:
        """List the files of all ranks, flush the list to the disk, and rename the directory."""
        content = self.manifest | {
            "files": [dataclasses.asdict(file) for file, _ in written],
            "pieces": [piece.to_json() for _, pieces in written for piece in pieces],
            "common": self.snapshot.common,
        }
        listing = self._partial / MANIFEST
        listing.write_text(json.dumps(content))
        flush(listing)
        flush(self._partial)
        self._partial.rename(self.path)
        flush(self.path.parent)


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


def _on_all(action: Callable[[], T], group: ProcessGroup) -> list[T]:
    """The results of all ranks; if one cannot write, all raise OSError."""
    outcome: T | OSError
    try:
        outcome = action()
    except OSError as error:
        outcome = error
    outcomes: list[T | OSError | None] = [None] * torch.distributed.get_world_size(group)
    torch.distributed.all_gather_object(outcomes, outcome, group=group)
    if errors := {str(error) for error in outcomes if isinstance(error, OSError)}:
        raise OSError("; ".join(sorted(errors)))
    return [result for result in outcomes if result is not None and not isinstance(result, OSError)]


def load(path: Path, networks: Networks) -> dict[str, object]:
    saved = read_manifest(path, networks)
    pieces = [Piece.from_json(fields) for fields in saved["pieces"]]
    with PieceReader(path, pieces) as reader:
        loaded = _read(_sharded_state(networks, loading=True), reader, saved["common"])
        model = networks.policy.model
        model.base_dir = Path(saved.get("base", model.base_dir))  # whose frozen weights these are
        _resume(networks.policy, loaded, steps=saved["steps"])
        if networks.critic is not None:
            _resume(networks.critic, loaded[CRITIC], steps=saved["critic_steps"])
        if saved["arrangement"] == arrangement():  # otherwise a rank's random state has no heir
            _set_random_states(reader.named(file_of(torch.distributed.get_rank()), RANDOM))
    state: dict[str, object] = saved["state"]
    return state


def _read(
    sharded_state: dict[str, Any], reader: PieceReader, common: dict[str, Any]
) -> dict[str, Any]:
    """The state with the saved numbers, as `dist_checkpointing.load` puts it together."""
    sharded, unsaved, factories = load_preprocess(sharded_state)
    merge(common, unsaved)
    shards, _ = extract_sharded_base(sharded)
    # What is not a tensor is TransformerEngine's state of fp8, which is not used.
    dict_list_map_inplace(
        lambda shard: reader.read(shard) if isinstance(shard, ShardedTensor) else shard.data,
        shards,
    )
    merge(common, shards)
    loaded: dict[str, Any] = apply_factory_merges(common, factories)
    return loaded


def _resume(network: Network[Any], loaded: dict[str, Any], *, steps: int) -> None:
    network.model.load_state_dict(loaded["model"])
    network.stepper.resume(loaded["optimizer"], steps=steps)


def _sharded_state(networks: Networks, *, loading: bool) -> dict[str, Any]:
    state = _sharded(networks.policy, loading=loading)
    if networks.critic is not None:
        state[CRITIC] = _sharded(networks.critic, loading=loading)
        # Its tensors have the names of the policy's, and are in the same directory.
        add_prefix_for_sharding(state[CRITIC], f"{CRITIC}.")
    return state


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


def _random_states() -> dict[str, Tensor]:
    tracked: dict[str, Tensor] = get_cuda_rng_tracker().get_states()
    return {TORCH: torch.get_rng_state()} | {
        MEGATRON + name: state.clone() for name, state in tracked.items()
    }


def _set_random_states(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states[TORCH])
    tracked = {n.removeprefix(MEGATRON): s for n, s in states.items() if n.startswith(MEGATRON)}
    get_cuda_rng_tracker().set_states(tracked)
