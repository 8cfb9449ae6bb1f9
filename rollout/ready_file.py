"""The file in which a process of ours writes its addresses once it can be used. The engine's environment imports this too."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class ReadyFile:
    path: Path

    @classmethod
    def of(cls, name: str, run: Path) -> "ReadyFile":
        return cls(run / f"{name}.ready.json")

    def write(self, **content: object) -> None:
        """Rename a finished file to this name, so that a reader never sees half of it."""
        partial = self.path.with_name(f"{self.path.name}.partial")
        partial.write_text(json.dumps(content))
        partial.replace(self.path)

    def clear(self) -> None:
        """Delete what an earlier run of the process wrote."""
        self.path.unlink(missing_ok=True)

    async def is_written(self) -> bool:
        return self.path.exists()

    def read(self) -> dict[str, Any]:
        content = json.loads(self.path.read_text())
        assert isinstance(content, dict)
        return content
