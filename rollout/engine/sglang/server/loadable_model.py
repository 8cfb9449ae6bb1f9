"""Whether a directory holds a model that SGLang can load, checked before the slow part of the start.

SGLang finds a defect in a child process, which then kills its parent; here the file and the defect are named.
"""

import json
import struct
from pathlib import Path
from typing import Any


class ModelUnusable(Exception):
    """The directory holds no model that can be served; the message says what is wrong with which file."""


def check(directory: Path) -> None:
    """Raise ModelUnusable unless the configuration, the tokenizer and every weight file are whole."""
    config = _read_json(directory / "config.json")
    if not config.get("architectures"):
        raise ModelUnusable(f"{directory / 'config.json'} names no architecture")
    _read_json(directory / "tokenizer_config.json")
    weights = sorted(directory.glob("*.safetensors"))
    if not weights:
        raise ModelUnusable(f"{directory} has no *.safetensors file")
    for file in weights:
        _check_safetensors(file)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise ModelUnusable(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise ModelUnusable(f"{file} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelUnusable(f"{file} is not a JSON object")
    return content


def _check_safetensors(file: Path) -> None:
    """A safetensors file is an 8-byte length, JSON of this length, and the tensors at the offsets that the JSON gives."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        prefix = stream.read(8)
        header_size = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if 8 + header_size > size:
            raise ModelUnusable(f"{file} is cut short inside its header")
        try:
            header: dict[str, Any] = json.loads(stream.read(header_size))
        except ValueError as error:
            raise ModelUnusable(f"{file} has no safetensors header: {error}") from error
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    expected = 8 + header_size + max(ends, default=0)
    if size != expected:
        raise ModelUnusable(f"{file} has {size} bytes where its header promises {expected}")
