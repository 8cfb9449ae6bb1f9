"""The weight files of a Hugging Face model directory."""

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from rollout.policies import MANIFEST, WEIGHT_SUFFIXES

SHARD_BYTES = 4 * 2**30


def write_model(directory: Path, *, source: Path, tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Fill `directory` with the configuration, tokenizer and template of `source`, and with the tensors."""
    for file in source.iterdir():
        if file.is_file() and not file.name.endswith((*WEIGHT_SUFFIXES, MANIFEST)):
            shutil.copyfile(file, directory / file.name)
    write_weights(directory, tensors)


def write_weights(
    directory: Path, tensors: Iterable[tuple[str, Tensor]], *, shard_bytes: int = SHARD_BYTES
) -> None:
    """Write tensors as they come, in shards, so that no second copy of the model exists.

    All tensors are consumed even after an error, because making each one is a collective call. Raises OSError.
    """
    remaining = iter(tensors)
    try:
        _write_shards(directory, remaining, shard_bytes)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    finally:
        for _ in remaining:
            pass


def _write_shards(directory: Path, tensors: Iterator[tuple[str, Tensor]], shard_bytes: int) -> None:
    index: dict[str, str] = {}
    total = 0
    for number, shard in enumerate(_shards(tensors, shard_bytes), start=1):
        name = f"model-{number:05d}.safetensors"
        save_file(shard, directory / name, metadata={"format": "pt"})
        (directory / name).chmod(0o644)  # safetensors lets only its owner read it
        index |= dict.fromkeys(shard, name)
        total += sum(tensor.nbytes for tensor in shard.values())
    if len(set(index.values())) == 1:
        (directory / "model-00001.safetensors").rename(directory / "model.safetensors")
        return
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=2)
    (directory / "model.safetensors.index.json").write_text(text + "\n")


def _shards(tensors: Iterator[tuple[str, Tensor]], shard_bytes: int) -> Iterator[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors:
        if shard and size + tensor.nbytes > shard_bytes:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor.contiguous()
        size += tensor.nbytes
    if shard:
        yield shard
