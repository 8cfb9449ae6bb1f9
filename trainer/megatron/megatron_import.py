"""Imports Megatron without what a CPU never uses, so that a killed trainer is back three seconds earlier.

Megatron decorates functions with `torch.compile` as it is imported, which imports torch's whole compiler, and it imports wandb for
an inference engine. Compiling at first use needs a C++ compiler on a CPU; `platform.py` replaces the functions that would.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


def import_megatron() -> None:
    if torch.cuda.is_available():
        importlib.import_module("megatron.core")
        return
    with _without_compiler(), _without_module("wandb"):
        importlib.import_module("megatron.core")


@contextmanager
def _without_compiler() -> Iterator[None]:
    compiler = torch.compile
    torch.compile = _leave  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.compile = compiler


def _leave(function: Callable[..., Any] | None = None, **_: object) -> Callable[..., Any]:
    """A decorator, with or without options, that changes nothing."""
    return _leave if function is None else function


@contextmanager
def _without_module(name: str) -> Iterator[None]:
    """Importing it fails in the block, unless it was imported before."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
