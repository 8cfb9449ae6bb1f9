"""Pieces of tensors: which part of the whole tensor lies in which file. Any part can be read, so that the layout may change."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from math import prod
from pathlib import Path
from typing import Any, Self

import torch
from megatron.core.dist_checkpointing.mapping import ShardedTensor
from safetensors import safe_open
from torch import Tensor

from trainer.learner.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Box:
    """A range of each axis of a whole tensor."""

    offset: tuple[int, ...]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, shard: ShardedTensor) -> Self:
        """Layers are stacked along an axis that the local tensor does not have."""
        return cls(tuple(shard.global_offset), (1,) * shard.prepend_axis_num + shard.local_shape)

    def overlap(self, other: "Box") -> "Box":
        """The part that both have; its size is 0 if there is none."""
        ranges = [
            (max(a, b), min(a + n, b + m))
            for a, n, b, m in zip(self.offset, self.shape, other.offset, other.shape, strict=True)
        ]
        return Box(tuple(a for a, _ in ranges), tuple(max(0, end - a) for a, end in ranges))

    def within(self, outer: "Box") -> tuple[slice, ...]:
        """The indices of this box in a tensor that holds the outer one."""
        starts = [a - b for a, b in zip(self.offset, outer.offset, strict=True)]
        return tuple(
            slice(start, start + size) for start, size in zip(starts, self.shape, strict=True)
        )

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Piece:
    key: str  # of the whole tensor
    file: str
    box: Box
    whole: tuple[int, ...]  # the shape of the whole tensor

    @classmethod
    def of(cls, shard: ShardedTensor, *, file: str) -> Self:
        return cls(shard.key, file, Box.of(shard), tuple(shard.global_shape))

    @property
    def name(self) -> str:
        """Of the tensor in the file."""
        return f"{self.key}@{','.join(map(str, self.box.offset))}"

    def to_json(self) -> list[Any]:
        return [self.key, self.file, self.box.offset, self.box.shape, self.whole]

    @classmethod
    def from_json(cls, fields: list[Any]) -> Self:
        key, file, offset, shape, whole = fields
        return cls(key, file, Box(tuple(offset), tuple(shape)), tuple(whole))


class PieceReader:
    """Use as a context manager: the files stay mapped while it is open."""

    def __init__(self, directory: Path, pieces: Iterable[Piece]) -> None:
        self._directory = directory
        ordered = sorted(pieces, key=lambda piece: piece.key)
        self._pieces: Mapping[str, list[Piece]] = {
            key: list(found) for key, found in groupby(ordered, key=lambda piece: piece.key)
        }
        self._opened = ExitStack()
        self._files: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def read(self, wanted: ShardedTensor) -> Tensor:
        """The wanted part, put together from pieces of any layout. Rows that pad a vocabulary may be absent; they are 0."""
        pieces = self._pieces.get(wanted.key, [])
        target = Box.of(wanted)
        tensor = torch.zeros(target.shape, dtype=wanted.dtype)
        found = 0
        for piece in pieces:
            overlap = target.overlap(piece.box)
            if overlap.size:
                stored = self._stored(piece, overlap.within(piece.box))
                tensor[overlap.within(target)] = stored.reshape(overlap.shape)
                found += overlap.size
        whole = Box((0,) * len(target.shape), pieces[0].whole) if pieces else target
        expected = target.overlap(whole) if wanted.allow_shape_mismatch else target
        if found != expected.size:
            raise CheckpointError(
                f"{self._directory} has {found} of {expected.size} numbers of {wanted.key}; "
                "use the settings of the checkpoint, or another TURNGATE_TRAINER_CHECKPOINT_DIR"
            )
        return tensor.reshape(wanted.local_shape)

    def named(self, file: str, prefix: str) -> dict[str, Tensor]:
        """The tensors of a file whose names begin with the prefix, by the rest of the name."""
        opened = self._file(file)
        names = [name for name in opened.keys() if name.startswith(prefix)]  # noqa: SIM118 - not a dict
        return {name.removeprefix(prefix): opened.get_tensor(name) for name in names}

    def _stored(self, piece: Piece, part: tuple[slice, ...]) -> Tensor:
        """The file has the local tensor, without the axes that stack layers."""
        view = self._file(piece.file).get_slice(piece.name)
        stored: Tensor = view[part[len(part) - len(view.get_shape()) :]]
        return stored

    def _file(self, name: str) -> Any:
        if name not in self._files:
            path = self._directory / name
            self._files[name] = self._opened.enter_context(safe_open(path, framework="pt"))
        return self._files[name]
