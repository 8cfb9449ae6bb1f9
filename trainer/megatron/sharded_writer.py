"""Megatron's distributed checkpoint format, written by this process itself.

Megatron's own strategy writes from forked children and starts a manager process that imports the main
module again: seconds at the first save, and a fork of a process that has threads.
"""

from pathlib import Path

from megatron.core.dist_checkpointing.mapping import ShardedStateDict
from megatron.core.dist_checkpointing.strategies.base import SaveShardedStrategy
from megatron.core.dist_checkpointing.strategies.torch import (
    MCoreSavePlanner,
    _replace_state_dict_keys_with_sharded_keys,
    mcore_to_pyt_state_dict,
)
from torch.distributed.checkpoint import state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter


class ShardedWriter(SaveShardedStrategy):  # type: ignore[misc]
    """Every rank writes one file; rank 0 writes the index."""

    def __init__(self) -> None:
        super().__init__("torch_dist", 1)

    @property
    def can_handle_sharded_objects(self) -> bool:
        return True

    def save(self, sharded_state_dict: ShardedStateDict, checkpoint_dir: str | Path) -> None:
        renamed, _, _ = _replace_state_dict_keys_with_sharded_keys(
            sharded_state_dict, keep_only_main_replica=True
        )
        try:
            state_dict_saver.save(
                mcore_to_pyt_state_dict(renamed, False),
                storage_writer=FileSystemWriter(checkpoint_dir),
                planner=MCoreSavePlanner(dedup_replicated_tensors=False, flatten_state_dict=False),
            )
        except CheckpointException as error:  # a BaseException, with one failure per rank in it
            causes = {str(cause) for cause, _ in error.failures.values()}
            raise OSError(f"cannot write {checkpoint_dir}: {'; '.join(sorted(causes))}") from error
