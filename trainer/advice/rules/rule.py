"""A rule: a problem that would waste a run, when it applies, and a remedy.

A problem may contain values of `Setup.values` in braces; a remedy names settings as `--set trainer.<name>=…` takes them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from trainer.advice.rules.setup import Setup

Applies = Callable[[Setup], bool]


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    severity: Severity
    applies: Applies
    problem: str
    remedy: str


def error(name: str, applies: Applies, problem: str, remedy: str) -> Rule:
    return Rule(name, Severity.ERROR, applies, problem, remedy)


def warning(name: str, applies: Applies, problem: str, remedy: str) -> Rule:
    return Rule(name, Severity.WARNING, applies, problem, remedy)


def note(name: str, applies: Applies, problem: str, remedy: str) -> Rule:
    return Rule(name, Severity.NOTE, applies, problem, remedy)
