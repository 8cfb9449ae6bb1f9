"""The policy that the gateway serves: what an engine starts with."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServedPolicy:
    path: Path
    version: int
