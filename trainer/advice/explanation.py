"""A composition in words: for each part the choice, its formula and source, the numbers it reads and where each value comes from.

Formulas are the first lines of the functions' own docstrings, so what is shown is what runs.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from trainer import algorithms
from trainer.advice.rules.findings import Finding, findings
from trainer.advice.rules.setup import Setup
from trainer.composition.composition import Composition
from trainer.composition.presets import PRESETS, Preset, origins
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
    sections: tuple[Section, ...]
    findings: tuple[Finding, ...]

    @property
    def content(self) -> dict[str, object]:
        """For machines: every part, read or not."""
        came_from = origins(self.algorithm, self.parts)
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
                    "from": came_from[name],
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


# What choices mean that are not named like the function they stand for.
MEANINGS: Mapping[str, Mapping[str, Meaning]] = {
    "overlong": {
        "none": "length costs nothing",
        "soft": algorithms.soft_overlong,
        "filter": "rows that a length limit cut do not train; their rewards count in their groups",
    },
    "turn_credit": {
        "episode": "turns have no credit of their own: each token has its episode's, or what is still to come",
        "turn_discount": algorithms.turn_returns,
    },
    "whitening": {"none": "advantages stay as they are", "tokens": algorithms.whiten},
    "proximal": {
        "recompute": "old_logp is measured by a pass of the trained policy before the first step on a batch",
        "log_linear": algorithms.log_linear_proximal,
        "behavior": "old_logp is behav_logp: the ratio starts from the policy that sampled, no pass is needed",
    },
    "correction": {
        "none": "every token weighs 1, one that a grammar or penalty had a say in at most correction_high"
    },
}


def _chosen(part: str, parts: Composition) -> Meaning:
    choice = getattr(parts, part)
    return MEANINGS.get(part, {}).get(choice) or getattr(algorithms, choice)


@dataclass(frozen=True, slots=True)
class Part:
    """A part as it is told: what it means, which numbers may belong to it, and whether it is there at all."""

    name: str
    meaning: Callable[[Composition], Meaning]
    numbers: tuple[str, ...] = ()
    is_there: Callable[[Composition], bool] = lambda _: True


def _choice(name: str, *numbers: str) -> Part:
    return Part(name, lambda parts: _chosen(name, parts), numbers, lambda parts: parts.reads(name))


def _term(name: str, meaning: Callable[..., object]) -> Part:
    return Part(name, lambda _: meaning, (), lambda parts: getattr(parts, name) != 0)


REWARD = (
    Part("reward_scale", lambda _: algorithms.shaped_rewards, ("reward_low", "reward_high")),
    _choice("overlong", "overlong_length", "overlong_cache"),
    _term("dynamic_sampling", algorithms.dynamic_sampling),
    _term("kl_in_reward", algorithms.penalized_rewards),
)
ADVANTAGE = (
    _choice("advantage", "acceptance_threshold", "discount", "lambda_policy", "at_limit"),
    Part(
        "lambda_alpha",
        lambda _: algorithms.length_adaptive_lambda,
        is_there=lambda parts: parts.needs_critic and parts.lambda_alpha > 0,
    ),
    _choice("turn_credit", "turn_discount", "gigpo_weight"),
    _choice("whitening"),
)
LOSS = (
    _choice("proximal"),
    _choice(
        "policy_loss",
        *("clip_low", "clip_high", "dual_clip", "ratio_max"),
        *("temperature_positive", "temperature_negative"),
        *("dppo_delta", "dppo_penalty", "m2po_threshold"),
    ),
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
WEIGHT = (_choice("aggregation", "generation_budget"),)
STEPS = (
    Part(
        "minibatches",
        lambda parts: (
            "one step on the whole batch"
            if parts.steps_per_batch == 1
            else "each step on whole groups, dealt by their sampled tokens, with W over them alone; old_logp is that before the first"
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
    """What the trainer would train by with these settings."""
    parts = settings.parts
    came_from = origins(settings.algorithm, parts)
    return Explanation(
        settings.algorithm,
        PRESETS[settings.algorithm],
        parts,
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
        tuple(
            Number(name, getattr(parts, name), came_from[name])
            for name in part.numbers
            if parts.reads(name)
        ),
    )


def _first_line(function: Callable[..., object]) -> str:
    text = inspect.getdoc(function)
    assert text, f"{function} has no docstring"
    return text.splitlines()[0].rstrip(".")
