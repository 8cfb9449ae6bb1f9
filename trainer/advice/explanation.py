"""A composition explained: for each part the choice, its formula and source, the numbers it reads and where each value comes from.

Formulas are the first lines of the docstrings of the functions that run.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from trainer import algorithms
from trainer.advice.rules.findings import Finding, findings
from trainer.advice.rules.setup import Setup
from trainer.composition.composition import Composition
from trainer.composition.presets import Preset, origins
from trainer.settings import Settings

Meaning = str | Callable[..., object]


@dataclass(frozen=True, slots=True)
class Number:
    name: str
    value: float | str
    origin: str


@dataclass(frozen=True, slots=True)
class Line:
    """One part."""

    part: str
    choice: str
    origin: str
    formula: str
    numbers: tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    algorithm: str
    preset: Preset
    parts: Composition
    came_from: Mapping[str, str]  # by part
    sections: tuple[Section, ...]
    findings: tuple[Finding, ...]

    @property
    def content(self) -> dict[str, object]:
        """For JSON: every part, read or not."""
        values = {
            name: None if value in {-math.inf, math.inf} else value  # JSON has no infinity
            for name, value in self.parts.model_dump().items()
        }
        formulas = {line.part: line.formula for section in self.sections for line in section.lines}
        return {
            "algorithm": self.algorithm,
            "source": self.preset.source,
            "idea": self.preset.idea,
            "loss": self.loss,
            "parts": [
                {
                    "name": name,
                    "value": value,
                    "from": self.came_from[name],
                    "is_read": self.parts.reads(name),
                    "formula": formulas.get(name),
                }
                for name, value in values.items()
            ],
            "findings": [asdict(finding) for finding in self.findings],
        }

    @property
    def loss(self) -> str:
        """How the terms add up."""
        parts = self.parts
        weighted = "l" if parts.correction == "none" and parts.opsm_delta == 0 else "w * l"
        kl = f" + {parts.kl_in_loss:g} * KL" if parts.kl_in_loss else ""
        entropy = f" - {parts.entropy_bonus:g} * H" if parts.entropy_bonus else ""
        terms = f"({weighted}{kl}{entropy})" if kl or entropy else weighted
        return f"sum over tokens of W * {terms}"


# The meaning of choices that are not in a table of entries.
MEANINGS: Mapping[str, Mapping[str, Meaning]] = {
    "overlong": {
        "none": "length is not penalized",
        "soft": algorithms.soft_overlong,
        "filter": "rows that a length limit cut do not train; their rewards count in their groups",
    },
    "whitening": {"none": "advantages stay as they are", "tokens": algorithms.whiten},
}


def _chosen(part: str, parts: Composition) -> Meaning:
    choice = getattr(parts, part)
    if part in parts.known.tables:
        return parts.known.tables[part][choice].formula
    return MEANINGS[part][choice]


@dataclass(frozen=True, slots=True)
class Part:
    """A part as it is shown: what it means, which numbers may belong to it, and whether it is there at all."""

    name: str
    meaning: Callable[[Composition], Meaning]
    numbers: tuple[str, ...] = ()
    is_there: Callable[[Composition], bool] = lambda _: True

    def numbers_of(self, parts: Composition) -> list[str]:
        """The numbers that are read: those named here, and the settings of the entry that is chosen."""
        own = []
        if self.name in parts.known.tables:
            own = [
                s.name for s in parts.known.tables[self.name][getattr(parts, self.name)].settings
            ]
        return [name for name in (*self.numbers, *own) if parts.reads(name)]


def _choice(name: str, *numbers: str) -> Part:
    return Part(name, lambda parts: _chosen(name, parts), numbers, lambda parts: parts.reads(name))


def _term(name: str, meaning: Callable[..., object]) -> Part:
    return Part(name, lambda _: meaning, (), lambda parts: getattr(parts, name) != 0)


REWARD = (
    _choice("reward_transform"),
    Part("reward_scale", lambda _: algorithms.shaped_rewards, ("reward_low", "reward_high")),
    _choice("overlong", "overlong_length", "overlong_cache"),
    _choice("episode_filter"),
    _term("dynamic_sampling", algorithms.dynamic_sampling),
    _term("kl_in_reward", algorithms.penalized_rewards),
)
ADVANTAGE = (
    _choice("advantage", "discount", "lambda_policy", "at_limit"),
    Part(
        "lambda_alpha",
        lambda _: algorithms.length_adaptive_lambda,
        is_there=lambda parts: parts.needs_critic and parts.lambda_alpha > 0,
    ),
    _choice("turn_credit", "turn_discount"),
    _choice("whitening"),
)
LOSS = (
    _choice("proximal"),
    _choice("policy_loss", "clip_low", "clip_high", "dual_clip"),
    _choice("correction", "correction_low", "correction_high"),
    _term("opsm_delta", algorithms.opsm),
    Part(
        "kl_in_loss",
        lambda parts: _chosen("kl_estimator", parts),
        ("kl_estimator",),
        lambda parts: parts.kl_in_loss > 0,
    ),
    _term("entropy_bonus", algorithms.entropy_bonus),
)
CRITIC = (
    Part(
        "value_clip",
        lambda _: algorithms.value_loss,
        ("lambda_critic", "critic_warmup", "critic_learning_rate"),
        lambda parts: parts.needs_critic,
    ),
)
WEIGHT = (_choice("aggregation"),)
STEPS = (
    Part(
        "minibatches",
        lambda parts: (
            "one step on the whole batch"
            if parts.steps_per_batch == 1
            else "each step on whole groups, divided by their sampled tokens, with W over them alone; old_logp is from before the first step"
        ),
        ("epochs",),
    ),
)
SECTIONS: Mapping[str, tuple[Part, ...]] = {
    "reward r": REWARD,
    "advantage A": ADVANTAGE,
    "loss l": LOSS,
    "critic V": CRITIC,
    "weight W": WEIGHT,
    "optimizer steps": STEPS,
}


def explain(settings: Settings) -> Explanation:
    """The algorithm of these settings."""
    parts = settings.parts
    came_from = origins(settings.algorithm, parts, settings.presets)
    return Explanation(
        settings.algorithm,
        settings.presets[settings.algorithm],
        parts,
        came_from,
        tuple(
            Section(
                title, tuple(_line(part, parts, came_from) for part in its if part.is_there(parts))
            )
            for title, its in SECTIONS.items()
            if any(part.is_there(parts) for part in its)
        ),
        tuple(findings(Setup.of(settings))),
    )


def _line(part: Part, parts: Composition, came_from: Mapping[str, str]) -> Line:
    meaning = part.meaning(parts)
    value = getattr(parts, part.name)
    return Line(
        part.name,
        value if isinstance(value, str) else f"{value:g}",
        came_from[part.name],
        meaning if isinstance(meaning, str) else _first_line(meaning),
        tuple(Number(n, getattr(parts, n), came_from[n]) for n in part.numbers_of(parts)),
    )


def _first_line(function: Callable[..., object]) -> str:
    text = inspect.getdoc(function) or f"{function.__name__}, which has no docstring"
    return text.splitlines()[0].rstrip(".")
