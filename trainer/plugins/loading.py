"""Load plug-ins into a registry. A problem of a plug-in is a SettingsError with its file, line and remedy."""

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from pydantic import ValidationError

from rollout.settings import SettingsError
from rollout.suggestions import nearest
from trainer.algorithms.advantage.record import Advantage
from trainer.algorithms.corrections import Correction
from trainer.algorithms.entry import Entry, parameters
from trainer.algorithms.loss.record import PolicyLoss
from trainer.algorithms.rewards import EpisodeFilter, RewardTransform
from trainer.composition.composition import Composition
from trainer.composition.presets import PRESETS, Preset, starting_point
from trainer.composition.registry import BUILT_IN, Registry, choosing_from
from trainer.plugins import PluginPreset
from trainer.plugins.trial import try_out

VARIABLE = "TURNGATE_TRAINER_PLUGINS"
GROUP = "turngate.plugins"
TABLES: Mapping[type[Entry], str] = {
    PolicyLoss: "policy_loss",
    Advantage: "advantage",
    Correction: "correction",
    RewardTransform: "reward_transform",
    EpisodeFilter: "episode_filter",
}


@dataclass(frozen=True, slots=True)
class Catalog:
    """The compositions and presets of a trainer, with those of plug-ins."""

    composition: type[Composition]
    presets: Mapping[str, Preset]


def load_plugins(names: str, *, taken: Collection[str]) -> Catalog:
    """Load a comma-separated list of files and entry points; `taken` are the names of the trainer's settings."""
    modules = [_imported(name.strip()) for name in names.split(",") if name.strip()]
    records = [record for module in modules for record in _records(module)]
    registry = BUILT_IN
    for record in records:
        if isinstance(record, Entry):
            _check(record, registry, taken)
            registry = registry.adding(TABLES[type(record)], record)
    composition = choosing_from(registry)(Composition)
    presets = {
        name: replace(known, parts=composition.model_validate(known.parts.model_dump()))
        for name, known in PRESETS.items()
    }
    for record in records:
        if isinstance(record, PluginPreset):
            presets[record.name] = _preset(record, composition, presets)
    return Catalog(composition, presets)


def _imported(name: str) -> ModuleType:
    if not name.endswith(".py"):
        return _from_entry_point(name)
    path = Path(name).resolve()
    if not path.is_file():
        raise SettingsError(f"{VARIABLE}: {path} does not exist; name a Python file that does")
    spec = importlib.util.spec_from_file_location(f"turngate_plugin_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _refused(str(path), _line_in(str(path), error), _described(error)) from error
    return module


def _from_entry_point(name: str) -> ModuleType:
    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in installed:
        near = nearest(name, installed)
        remedy = f"did you mean {near}?" if near else "name a file that ends in .py"
        raise SettingsError(f"{VARIABLE}: no package has {name} as entry point {GROUP}; {remedy}")
    try:
        module = installed[name].load()
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise _refused(frame.filename, frame.lineno, _described(error)) from error
    if not isinstance(module, ModuleType):
        raise SettingsError(f"{VARIABLE}: entry point {name} is not a module; let it name one")
    return module


def _records(module: ModuleType) -> Iterator[Entry | PluginPreset]:
    """The records that the module defines itself, in its order."""
    for value in vars(module).values():
        is_own = isinstance(value, Entry) and value.formula.__module__ == module.__name__
        if is_own or isinstance(value, PluginPreset):
            yield value


def _check(entry: Entry, registry: Registry, taken: Collection[str]) -> None:
    """Refuse an entry that could not be called, or whose names mean something else already."""
    file, line = _place(entry)
    for problem in (*_name_problems(entry, registry, taken), *_parameter_problems(entry)):
        raise _refused(file, line, problem)
    try:
        try_out(entry)
    except Exception as error:
        raise _refused(file, _line_in(file, error) or line, _described(error)) from error


def _name_problems(entry: Entry, registry: Registry, taken: Collection[str]) -> Iterator[str]:
    choice = TABLES[type(entry)]
    if entry.name in registry.tables[choice]:
        yield f"there is a {choice} {entry.name} already; rename the function"
    known = {*taken, *(setting.name for setting in registry.settings)}
    for setting in set(entry.settings).difference(registry.settings):  # entries may share one
        if setting.name in known:
            yield f"there is a setting {setting.name} already; rename it"


def _parameter_problems(entry: Entry) -> Iterator[str]:
    found = dict(item for function in entry.functions for item in parameters(function).items())
    for setting in entry.settings:
        if setting.fills not in found:
            yield f"{entry.name} has no parameter {setting.fills} for its setting; add it"
    allowed = sorted({*entry.inputs, *(setting.fills for setting in entry.settings)})
    for name, parameter in found.items():
        if name not in allowed and parameter.default is parameter.empty:
            near = nearest(name, allowed)
            remedy = f"did you mean {near}?" if near else f"it may read {', '.join(allowed)}"
            yield f"nothing gives {entry.name} a parameter {name}; {remedy}"


def _preset(
    record: PluginPreset, composition: type[Composition], presets: Mapping[str, Preset]
) -> Preset:
    """The preset of a record, as it will run."""
    if record.name in presets:
        problem = f"there is an algorithm {record.name} already; rename the preset"
        raise _refused(record.file, record.line, problem)
    for name in record.choices:
        if name not in composition.model_fields:
            near = nearest(name, composition.model_fields)
            problem = f"preset {record.name}: there is no setting {name}"
            raise _refused(
                record.file, record.line, f"{problem}; did you mean {near}?" if near else problem
            )
    try:
        start = starting_point(record.like, record.choices, presets)
        parts = composition.model_validate({**start, **record.choices})
    except ValidationError as error:
        first = error.errors()[0]
        problem = f"preset {record.name}: {first['loc'][0]}: {first['msg']}"
        raise _refused(record.file, record.line, problem) from error
    except ValueError as error:
        raise _refused(record.file, record.line, f"preset {record.name}: {error}") from error
    return Preset(record.source, record.idea, parts)


def _refused(file: str, line: int | None, problem: str) -> SettingsError:
    return SettingsError(f"{VARIABLE}: {file}:{line or 1}: {problem}")


def _described(error: Exception) -> str:
    problem = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {problem}; correct the plug-in"


def _place(entry: Entry) -> tuple[str, int]:
    code = inspect.unwrap(entry.formula).__code__
    return code.co_filename, code.co_firstlineno


def _line_in(file: str, error: Exception) -> int | None:
    """The last line of this file that an error went through."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if frame.filename == file), None)
