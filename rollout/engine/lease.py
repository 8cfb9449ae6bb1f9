"""One call's use of an engine of the pool."""

from collections.abc import Callable
from types import TracebackType

from rollout.engine.engine import Engine
from rollout.engine.errors import EngineUnreachable
from rollout.engine.pool_member import Member


class Lease:
    """`with` gives the engine and counts the call; if the block loses the engine, the pool learns it at once.

    A class and no generator function, because every call has one.
    """

    __slots__ = ("_member", "_on_loss")

    def __init__(self, member: Member, on_loss: Callable[[], None]) -> None:
        self._member = member
        self._on_loss = on_loss

    def __enter__(self) -> Engine:
        self._member.in_flight += 1
        return self._member.engine

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._member.in_flight -= 1
        if isinstance(error, EngineUnreachable):
            self._member.lose(error.why)
            self._on_loss()
