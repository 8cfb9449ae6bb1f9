"""What a user's plug-in imports: decorators that make a record of a function, and presets.

A function's name is the name of its entry, its parameters are what it reads, the first line of its docstring is what `explain`
shows. Name the file in `TURNGATE_TRAINER_PLUGINS`:

    from trainer.plugins import Setting, loss, preset

    @loss(Setting("ceiling", 2.0, "bound of the ratio", gt=0))
    def capped(current_logprobs, proximal_logprobs, *, advantages, ceiling):
        "Capped: -min(rho, ceiling) * A"
        return -(current_logprobs - proximal_logprobs).exp().clamp(max=ceiling) * advantages

    CAPPED = preset("my_rl", like="grpo", policy_loss="capped", ceiling=1.5)
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from trainer.algorithms.advantage.record import Advantage
from trainer.algorithms.corrections import Correction
from trainer.algorithms.entry import Entry, Formula, Setting
from trainer.algorithms.loss.record import Bounds, PolicyLoss
from trainer.algorithms.rewards import EpisodeFilter, RewardTransform
from trainer.composition.presets import DEFAULT

__all__ = [
    "Bounds",
    "Setting",
    "advantage",
    "correction",
    "episode_filter",
    "loss",
    "preset",
    "reward_transform",
]

Kind = TypeVar("Kind", bound=Entry)


@dataclass(frozen=True, slots=True)
class PluginPreset:
    """A composition that a plug-in names, and where it does."""

    name: str
    source: str
    idea: str
    like: str
    choices: Mapping[str, object]
    file: str
    line: int


def loss(*settings: Setting, **fields: object) -> Callable[[Formula], PolicyLoss]:
    """A policy loss per token `[T]`; `fields` are those of `PolicyLoss`, such as `usual_clip=(0.2, 0.2)`."""
    return _decorator(PolicyLoss, settings, fields)


def advantage(*settings: Setting, **fields: object) -> Callable[[Formula], Advantage]:
    """Rewards `[N]` and groups `[N]` of episodes to advantages `[N]`; `fields` are those of `Advantage`."""
    return _decorator(Advantage, settings, fields)


def correction(*settings: Setting, **fields: object) -> Callable[[Formula], Correction]:
    """Importance weights per token `[T]`; `fields` are those of `Correction`."""
    return _decorator(Correction, settings, fields)


def reward_transform(*settings: Setting) -> Callable[[Formula], RewardTransform]:
    """Rewards, lengths, groups and truncated `[N]` of the batch's episodes to rewards `[N]`."""
    return _decorator(RewardTransform, settings, {})


def episode_filter(*settings: Setting) -> Callable[[Formula], EpisodeFilter]:
    """The same inputs to bool `[N]`: the episodes that train."""
    return _decorator(EpisodeFilter, settings, {})


def preset(
    name: str, *, like: str = DEFAULT, source: str = "a plug-in", idea: str = "", **choices: object
) -> PluginPreset:
    """An algorithm: the choices of the preset `like`, changed by these."""
    caller = inspect.stack()[1]
    return PluginPreset(
        name, source, idea or f"{like}, changed", like, choices, caller.filename, caller.lineno
    )


def _decorator(
    kind: type[Kind], settings: tuple[Setting, ...], fields: Mapping[str, object]
) -> Callable[[Formula], Kind]:
    if not all(isinstance(setting, Setting) for setting in settings):
        raise TypeError("a decorator takes Settings; write its parentheses even if it takes none")

    def recorded(formula: Formula) -> Kind:
        return kind(name=formula.__name__, formula=formula, settings=settings, **fields)

    return recorded
