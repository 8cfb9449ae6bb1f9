"""What can go wrong with an engine. Each error carries what the engine sampled before it.

EngineError
├── EngineUnreachable, EngineTimeout
│   └── EngineFailed
├── EngineRejected, EngineGarbled
│   └── GrammarRefused
├── EngineAborted, EngineBusy
└── NoEngine
"""

from rollout.engine.generation import Chunk
from rollout.engine.grammar import Grammar
from rollout.errors import RolloutError


class EngineError(RolloutError):
    """An engine did not do what it was asked; `partial` is what it sampled before."""

    def __init__(self, engine: str, why: str, partial: Chunk | None = None) -> None:
        super().__init__(f"engine {engine}: {why}")
        self.engine = engine
        self.why = why
        self.partial = partial


class EngineUnreachable(EngineError):
    """The engine refused the connection, broke it, or failed inside; another engine may answer."""


class EngineFailed(EngineUnreachable):
    """The engine answered with an internal error; the request may be its cause."""


class EngineTimeout(EngineError):
    """The engine did not answer before the deadline."""


class EngineRejected(EngineError):
    """The engine refuses the request; every other engine would refuse it too."""


class GrammarRefused(EngineRejected):
    """The request's grammar is wrong, or costs too much to compile or to sample under."""

    def __init__(self, engine: str, why: str, *, grammar: Grammar) -> None:
        super().__init__(engine, why)
        self.args = (f"the grammar is refused: {why}",)
        self.grammar = grammar


class EngineGarbled(EngineError):
    """The engine's answer cannot be decoded, or contradicts itself."""


class EngineAborted(EngineError):
    """The engine stopped the request, by itself or because of an abort call."""


class EngineBusy(EngineError):
    """The engine cannot take this request now; the same one may work later."""


class NoEngine(EngineError):
    """No engine of the pool may serve now."""

    def __init__(self, why: str) -> None:
        super().__init__("pool", why)
