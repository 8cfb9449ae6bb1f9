"""Entries of the tables of algorithms: one record beside each formula.

A formula is called by name: its parameters are what it reads, each an input of its kind or a setting of its own. What the rest of
the trainer must know about an entry is a field of its record, so nothing outside this folder asks for an entry by name.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import ClassVar, TypeVar

from torch import Tensor

Formula = Callable[..., Tensor]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Setting:
    """A value that entries of one file read; `TURNGATE_TRAINER_<NAME>` sets it."""

    name: str
    default: float | str  # its type is the setting's
    description: str
    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    parameter: str = ""  # of the formula, where that has another name
    idle_from: float = inf  # a bound as wide as this never acts
    adds_term: bool = False  # above 0 the loss has a term that needs no advantage

    @property
    def fills(self) -> str:
        """The parameter that gets the value."""
        return self.parameter or self.name


def parameters(function: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function).parameters


def call(function: Callable[..., Result], inputs: Mapping[str, object]) -> Result:
    """The function of those inputs that its parameters name."""
    return function(**{name: inputs[name] for name in parameters(function) if name in inputs})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A choice by name, and the formula that it stands for."""

    inputs: ClassVar[frozenset[str]] = frozenset()  # what a formula of this kind may read
    name: str
    formula: Formula
    settings: tuple[Setting, ...] = ()

    @property
    def functions(self) -> tuple[Callable[..., object], ...]:
        """Those that are called by name."""
        return (self.formula,)

    def reads(self, name: str) -> bool:
        return name in parameters(self.formula)
