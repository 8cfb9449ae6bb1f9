"""The tables of entries that a composition may choose from: the trainer's own, and with plug-ins those of a user."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, Field, create_model

from trainer.algorithms.advantage import ADVANTAGES
from trainer.algorithms.advantage.record import Advantage
from trainer.algorithms.aggregation import AGGREGATIONS, Aggregation
from trainer.algorithms.corrections import CORRECTIONS, Correction
from trainer.algorithms.entry import Entry, Setting
from trainer.algorithms.kl import KL_ESTIMATORS, KlEstimator
from trainer.algorithms.loss import POLICY_LOSSES
from trainer.algorithms.loss.record import PolicyLoss
from trainer.algorithms.proximal import PROXIMALS, Proximal
from trainer.algorithms.rewards import (
    EPISODE_FILTERS,
    REWARD_TRANSFORMS,
    EpisodeFilter,
    RewardTransform,
)
from trainer.algorithms.turn_credit import TURN_CREDITS, TurnCredit


@dataclass(frozen=True, slots=True)
class Registry:
    """Entries by name; each table is named like the field of the composition that chooses from it."""

    reward_transform: Mapping[str, RewardTransform]
    episode_filter: Mapping[str, EpisodeFilter]
    advantage: Mapping[str, Advantage]
    turn_credit: Mapping[str, TurnCredit]
    policy_loss: Mapping[str, PolicyLoss]
    proximal: Mapping[str, Proximal]
    correction: Mapping[str, Correction]
    kl_estimator: Mapping[str, KlEstimator]
    aggregation: Mapping[str, Aggregation]

    @property
    def tables(self) -> Mapping[str, Mapping[str, Entry]]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def settings(self) -> Iterator[Setting]:
        """Those of all entries."""
        for table in self.tables.values():
            for entry in table.values():
                yield from entry.settings

    def adding(self, choice: str, entry: Entry) -> Self:
        """The registry with one more entry in the table of this choice."""
        added: dict[str, Any] = {choice: {**self.tables[choice], entry.name: entry}}
        return replace(self, **added)


EntryType = TypeVar("EntryType", bound=Entry)


def _named(entries: Iterable[EntryType]) -> Mapping[str, EntryType]:
    return {entry.name: entry for entry in entries}


BUILT_IN = Registry(
    reward_transform=_named(REWARD_TRANSFORMS),
    episode_filter=_named(EPISODE_FILTERS),
    advantage=_named(ADVANTAGES),
    turn_credit=_named(TURN_CREDITS),
    policy_loss=_named(POLICY_LOSSES),
    proximal=_named(PROXIMALS),
    correction=_named(CORRECTIONS),
    kl_estimator=_named(KL_ESTIMATORS),
    aggregation=_named(AGGREGATIONS),
)


class Choosing(BaseModel):
    """A model with a field for each table of `known`."""

    known: ClassVar[Registry]


Model = TypeVar("Model", bound=Choosing)


def choosing_from(registry: Registry) -> Callable[[type[Model]], type[Model]]:
    """A class decorator: the choices are the registry's names, and each setting of an entry is a field."""

    def decorated(model: type[Model]) -> type[Model]:
        definitions: dict[str, Any] = {
            choice: (Literal[tuple(table)], model.model_fields[choice])
            for choice, table in registry.tables.items()
        }
        for setting in registry.settings:
            if setting.name not in model.model_fields:
                definitions[setting.name] = (type(setting.default), _field(setting))
        made = create_model(
            model.__name__,
            __base__=model,
            __module__=model.__module__,
            __doc__=model.__doc__,
            **definitions,
        )
        made.known = registry
        return made

    return decorated


def _field(setting: Setting) -> Any:
    limits = {name: getattr(setting, name) for name in ("gt", "ge", "lt", "le")}
    return Field(default=setting.default, description=setting.description, **limits)
