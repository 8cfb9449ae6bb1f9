"""One implementation for blocking and awaiting clients.

An operation is written once, as a coroutine. On an `Awaiting` owner a call gives that coroutine; on a `Blocking` owner the call
runs it to its end and gives the result. A blocking owner's transport never suspends, so no event loop is needed for it.
"""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

P = ParamSpec("P")
T = TypeVar("T")


class Blocking:
    """Its operations return when they are done."""


class Awaiting:
    """Its operations are awaited."""


class operation(Generic[P, T]):  # noqa: N801 - used as a decorator
    """Makes a coroutine method a method of both kinds of owners, with its arguments and its result typed for each."""

    def __init__(self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> None:
        self._function = function
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    @overload
    def __get__(self, owner: None, kind: type) -> Self: ...
    @overload
    def __get__(self, owner: Blocking, kind: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, owner: Awaiting, kind: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, owner: object, kind: type) -> object:
        if owner is None:
            return self
        function = self._function

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> object:
            work = function(owner, *args, **kwargs)
            return work if isinstance(owner, Awaiting) else finish(work)

        return call


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise AssertionError("a blocking transport suspended")
