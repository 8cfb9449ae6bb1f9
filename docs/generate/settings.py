"""Every setting of every process, from the classes that read them."""

from collections.abc import Iterator, Mapping
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from deploy.settings import Settings as CommandSettings
from docs.generate.markdown import code, table
from gateway.settings import Settings as GatewaySettings
from rollout.settings import SharedSettings
from trainer.composition.composition import Composition
from trainer.settings import Settings as TrainerSettings

Fields = Mapping[str, FieldInfo]
INTRO = """\
# Settings

Each process reads its environment once, at its start, and refuses a name that it does not know. `turngate up` sets what one machine needs and passes the rest on;
`--set trainer.learning_rate=1e-6` is short for `TURNGATE_TRAINER_LEARNING_RATE=1e-6`. This page is generated from the classes that read the settings.
"""


def page() -> str:
    parts = (f"## {title}\n\n{listed(kind, fields)}\n" for title, kind, fields in sections())
    return "\n".join([INTRO, *parts])


def sections() -> tuple[tuple[str, type[BaseSettings], Fields], ...]:
    """A title, the class that reads the settings, and those of its fields that belong under the title."""
    return (
        ("Gateway and trainer", SharedSettings, SharedSettings.model_fields),
        ("Gateway", GatewaySettings, own(GatewaySettings)),
        ("Trainer", TrainerSettings, own(TrainerSettings)),
        ("Trainer: the parts of its algorithm", TrainerSettings, Composition.model_fields),
        ("The `turngate` command", CommandSettings, CommandSettings.model_fields),
    )


def variables() -> list[str]:
    return [variable(kind, name) for _, kind, fields in sections() for name in fields]


def own(kind: type[SharedSettings]) -> Fields:
    shared = SharedSettings.model_fields | Composition.model_fields
    return {name: field for name, field in kind.model_fields.items() if name not in shared}


def listed(kind: type[BaseSettings], fields: Fields) -> str:
    return table(("setting", "default", "meaning"), rows(kind, fields))


def rows(kind: type[BaseSettings], fields: Fields) -> Iterator[tuple[str, str, str]]:
    for name, field in fields.items():
        setting = variable(kind, name)
        assert field.description, f"{setting} has no description"
        yield code(setting), default(field), field.description + choices(field)


def variable(kind: type[BaseSettings], name: str) -> str:
    if issubclass(kind, SharedSettings):
        return kind.variable(name)
    return str(kind.model_config.get("env_prefix", "")) + name.upper()


def choices(field: FieldInfo) -> str:
    if get_origin(field.annotation) is not Literal:
        return ""
    return ": " + ", ".join(map(code, get_args(field.annotation)))


def default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None or field.default == ():
        return ""
    if isinstance(field.default, tuple):
        return code(",".join(field.default))
    return code(field.default)
