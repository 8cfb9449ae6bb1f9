"""A copy of what one rank writes to a checkpoint, so that training can continue while it is written.

The tensors go to one safetensors file per rank, everything else to the manifest as JSON: nothing that is loaded is code.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.mapping import ShardedTensor, is_main_replica
from megatron.core.dist_checkpointing.state_dict_utils import save_preprocess
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from rollout.flush import flush
from trainer.megatron.checkpoint.files import WrittenFile
from trainer.megatron.checkpoint.pieces import Piece

RANDOM = "random."  # the names of random states, which belong to one rank


@dataclass(frozen=True, slots=True)
class RankSnapshot:
    """Takes as much CPU memory as its file takes on the disk."""

    rank: int
    tensors: dict[str, Tensor]
    pieces: tuple[Piece, ...]  # where each tensor lies in the whole one
    common: dict[str, Any]  # the same on every rank

    @classmethod
    def take(
        cls, sharded_state: dict[str, Any], random_states: dict[str, Tensor], *, rank: int
    ) -> Self:
        """Of tensors that several ranks hold, one rank writes each."""
        sharded, common = save_preprocess(sharded_state, validate_access_integrity=False)
        tensors = {RANDOM + name: state for name, state in random_states.items()}
        pieces = []
        for shard in nested_values(sharded):
            if isinstance(shard, ShardedTensor) and is_main_replica(shard.replica_id):
                piece = Piece.of(shard, file=file_of(rank))
                tensors[piece.name] = shard.data.detach().to("cpu", copy=True).contiguous()
                pieces.append(piece)
        return cls(rank, tensors, tuple(pieces), common)

    def write(self, directory: Path) -> WrittenFile:
        """Raises OSError."""
        path = directory / file_of(self.rank)
        try:
            save_file(self.tensors, path)
        except SafetensorError as error:
            raise OSError(f"cannot write {directory}: {error}") from error
        flush(path)
        return WrittenFile.of(path)


def file_of(rank: int) -> str:
    return f"rank{rank:05d}.safetensors"
