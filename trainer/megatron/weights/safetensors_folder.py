"""Tensors of a Hugging Face model directory, read one at a time, from one file or from many with an index."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from safetensors import SafetensorError, safe_open
from torch import Tensor

from trainer.learner.errors import WeightsMismatch


class SafetensorsFolder:
    """Use as a context manager: the files stay mapped while it is open."""

    def __init__(self, model_dir: Path) -> None:
        self._dir = model_dir
        self._open = ExitStack()
        self._files: dict[str, Any] = {}  # tensor name -> the open file that has it

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            for name in self._file_names():
                file = self._open_file(opening, self._dir / name)
                self._files.update(dict.fromkeys(file.keys(), file))
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(f.get_slice(name).get_shape()) for name, f in self._files.items()}

    def read(self, name: str) -> Tensor:
        tensor: Tensor = self._files[name].get_tensor(name)
        return tensor

    def _file_names(self) -> list[str]:
        index = self._dir / "model.safetensors.index.json"
        if not index.exists():
            return ["model.safetensors"]
        return sorted(set(json.loads(index.read_text())["weight_map"].values()))

    @staticmethod
    def _open_file(opening: ExitStack, path: Path) -> Any:
        try:
            return opening.enter_context(safe_open(path, framework="pt"))
        except FileNotFoundError:
            raise WeightsMismatch(f"{path} does not exist") from None
        except SafetensorError as error:
            raise WeightsMismatch(f"{path} is damaged: {error}") from None
