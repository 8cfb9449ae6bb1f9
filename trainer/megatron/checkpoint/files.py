"""The files of a checkpoint: how long each is, what is in it, and that it is on the disk."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class WrittenFile:
    name: str
    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Self:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return cls(path.name, path.stat().st_size, digest)

    def damage(self, directory: Path) -> str | None:
        """What is wrong with the file, or None."""
        path = directory / self.name
        if not path.exists() or path.stat().st_size != self.size:
            return f"{self.name} is missing or not {self.size} bytes long"
        if type(self).of(path) != self:
            return f"the content of {self.name} has changed"
        return None
