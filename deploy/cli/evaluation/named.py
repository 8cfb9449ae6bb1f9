"""Agents and graders that a command line names: `MODULE:NAME`, or a grader of the client's own."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.errors import SettingsInvalid
from turngate import AsyncEpisode, Row, graders

# Those that need no argument.
GRADERS: dict[str, Callable[[], graders.Grader]] = {
    "exact": graders.exact,
    "numeric": graders.numeric,
    "math": graders.math,
    "unit_tests": graders.unit_tests,
}


async def one_turn(episode: AsyncEpisode, row: Row) -> str:
    """The agent of a command line that names none: it asks the question and answers with the reply."""
    return await episode.chat([{"role": "user", "content": row.question}])


def grader_of(name: str | None) -> graders.Grader | None:
    if name is None:
        return None
    if name in GRADERS:
        return GRADERS[name]()
    if ":" not in name:
        raise SettingsInvalid(f"no grader {name}; use {', '.join(GRADERS)}, or MODULE:NAME")
    found = imported(name)
    return found if isinstance(found, graders.Grader) else graders.grader(found)


def imported(name: str) -> Any:
    """What `MODULE:NAME` names; a module of the working directory is found as by `python -m`."""
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise SettingsInvalid(f"{name}: there is no module {error.name}") from error
    except (AttributeError, ValueError) as error:
        raise SettingsInvalid(f"{name}: write MODULE:NAME; {error}") from error
