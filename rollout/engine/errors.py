"""What can go wrong with an engine. Each error carries what the engine had sampled by then.

EngineError
├── EngineUnreachable, EngineTimeout
│   └── EngineFailed
├── EngineRejected, EngineGarbled
├── EngineAborted
└── NoEngine
"""

from rollout.engine.generation import Chunk
from rollout.errors import RolloutError


class EngineError(RolloutError):
    """An engine did not do what it was asked; `partial` is what it had sampled by then."""

    def __init__(self, engine: str, why: str, partial: Chunk | None = None) -> None:
        super().__init__(f"engine {engine}: {why}")
        self.engine = engine
        self.why = why
        self.partial = partial


class EngineUnreachable(EngineError):
    """The engine refused the connection, broke it, or failed inside; another one may do better."""


class EngineFailed(EngineUnreachable):
    """The engine answered that it failed inside; what it was asked may be the reason."""


class EngineTimeout(EngineError):
    """The engine let a deadline pass."""


class EngineRejected(EngineError):
    """The engine finds the request at fault; no other engine will take it."""


class EngineGarbled(EngineError):
    """The engine's answer is not what it should be, or contradicts itself."""


class EngineAborted(EngineError):
    """The engine gave the request up, or was told to."""


class NoEngine(EngineError):
    """No engine of the pool may serve now."""

    def __init__(self, why: str) -> None:
        super().__init__("pool", why)
