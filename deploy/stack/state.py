"""The content of `state.json`: the processes of a supervisor, rewritten at every change."""

from dataclasses import asdict, dataclass
from typing import Any

from deploy.stack.process import ProcessStatus


@dataclass(frozen=True, slots=True)
class State:
    gateway: str  # its address, without /v1
    processes: tuple[ProcessStatus, ...]

    @property
    def content(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, content: dict[str, Any]) -> "State":
        processes = tuple(ProcessStatus(**fields) for fields in content.get("processes", ()))
        return cls(gateway=content.get("gateway", ""), processes=processes)
