"""A copy of what one rank writes to a checkpoint, so that training can continue while it is written.

Megatron's own strategies write from forked children, start a manager process that imports the main module again, and fork a
process that has threads. Here a thread of this process writes the same format.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from megatron.core.dist_checkpointing.core import CONFIG_FNAME, CheckpointingConfig
from megatron.core.dist_checkpointing.mapping import ShardedTensor
from megatron.core.dist_checkpointing.state_dict_utils import save_preprocess
from megatron.core.dist_checkpointing.strategies.common import COMMON_STATE_FNAME
from megatron.core.dist_checkpointing.strategies.torch import (
    MCoreSavePlanner,
    _replace_state_dict_keys_with_sharded_keys,
    mcore_to_pyt_state_dict,
)
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint import state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter


@dataclass(frozen=True, slots=True)
class RankSnapshot:
    """Takes as much CPU memory as the checkpoint takes on the disk."""

    shards: dict[str, Any]  # what this rank writes, in torch's distributed form
    common: bytes  # what rank 0 writes beside it

    @classmethod
    def take(cls, sharded_state: dict[str, Any]) -> Self:
        """Collective: every rank takes its own."""
        sharded, common = save_preprocess(sharded_state)
        renamed, _, _ = _replace_state_dict_keys_with_sharded_keys(
            sharded, keep_only_main_replica=True
        )
        for parts in renamed.values():
            for part in parts:
                if isinstance(part, ShardedTensor):
                    part.data = part.data.detach().to("cpu", copy=True)
        buffer = io.BytesIO()
        torch.save(common, buffer)
        return cls(mcore_to_pyt_state_dict(renamed, False), buffer.getvalue())

    def write_common(self, directory: Path) -> None:
        (directory / COMMON_STATE_FNAME).write_bytes(self.common)
        config = asdict(CheckpointingConfig("torch_dist", 1))
        (directory / CONFIG_FNAME).write_text(json.dumps(config))

    def write_shards(self, directory: Path, group: ProcessGroup) -> None:
        """Every rank writes one file and rank 0 the index; OSError on all ranks if one of them cannot write."""
        try:
            state_dict_saver.save(
                self.shards,
                storage_writer=FileSystemWriter(directory),
                planner=MCoreSavePlanner(dedup_replicated_tensors=False, flatten_state_dict=False),
                process_group=group,
            )
        except CheckpointException as error:  # a BaseException, with one failure per rank in it
            raise OSError(f"cannot write {directory}: {_causes(error.failures)}") from error


def _causes(failures: Mapping[int, Any]) -> str:
    return "; ".join(sorted({str(cause) for cause, _ in failures.values()}))
