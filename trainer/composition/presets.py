"""The algorithms by name: each a paper, and the composition that it is here.

Where the ratio of a paper starts from "the old policy", a preset starts from the one that sampled the token (`proximal = behavior`):
nothing is recomputed and the clip bounds staleness. `decoupled` measures the proximal policy and takes one step from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rollout.suggestions import nearest
from trainer.composition.composition import Composition

DEFAULT = "decoupled"

BOUNDS = frozenset({"clip_low", "clip_high", "correction_low", "correction_high"})


@dataclass(frozen=True, slots=True)
class Preset:
    """A named composition and where it comes from."""

    source: str
    idea: str
    parts: Composition


def _direct(**choices: Any) -> Composition:
    """Ratios from the policy that sampled, so no correction on top; PPO's own bounds."""
    usual = {"proximal": "behavior", "correction": "none", "clip_low": 0.2, "clip_high": 0.2}
    return Composition(**(usual | choices))


PRESETS: Mapping[str, Preset] = {
    "ppo": Preset(
        "1707.06347",
        "a critic's advantages under a clipped ratio",
        _direct(advantage="gae", whitening="tokens", kl_in_reward=0.05),
    ),
    "grpo": Preset(
        "2402.03300",
        "each reward in units of its group's deviation",
        _direct(aggregation="seq_mean_token_mean", kl_in_loss=0.04),
    ),
    "dapo": Preset(
        "2503.14476",
        "GRPO that clips higher, replaces groups of equal rewards and penalizes length",
        _direct(
            clip_high=0.28,
            dynamic_sampling=4.0,
            overlong="soft",
            overlong_length=20480,
            overlong_cache=4096,
        ),
    ),
    "dr_grpo": Preset(
        "2503.20783",
        "GRPO without its two divisions: by the deviation and by the length",
        _direct(advantage="dr_grpo", aggregation="drgrpo", generation_budget=16384),
    ),
    "rloo": Preset(
        "2402.14740",
        "REINFORCE against the mean of the others; a sequence is one action",
        _direct(
            advantage="rloo",
            aggregation="seq_mean_token_sum",
            policy_loss="score_function",
            kl_in_reward=0.05,
        ),
    ),
    "reinforce": Preset(
        "Williams 1992",
        "the reward itself, for tokens of the current policy",
        _direct(advantage="reinforce", policy_loss="score_function"),
    ),
    "reinforce_plus_plus": Preset(
        "2501.03262",
        "the later rewards, whitened over the batch",
        _direct(advantage="reinforce", whitening="tokens", kl_in_reward=0.01),
    ),
    "reinforce_plus_plus_baseline": Preset(
        "2501.03262",
        "the reward less its group's mean, whitened over the batch",
        _direct(advantage="dr_grpo", whitening="tokens", kl_in_loss=0.01, kl_estimator="k2"),
    ),
    "lite_ppo": Preset(
        "2508.08221",
        "the group's mean, the batch's deviation",
        _direct(advantage="lite_ppo"),
    ),
    "gspo": Preset(
        "2507.18071",
        "one ratio per sequence",
        _direct(
            policy_loss="gspo", clip_low=3e-4, clip_high=4e-4, aggregation="seq_mean_token_mean"
        ),
    ),
    "gspo_token": Preset(
        "2507.18071",
        "GSPO for advantages that differ within a sequence",
        _direct(
            policy_loss="gspo_token",
            clip_low=3e-4,
            clip_high=4e-4,
            aggregation="seq_mean_token_mean",
        ),
    ),
    "cispo": Preset(
        "2506.13585",
        "the ratio is bounded, no token is dropped",
        _direct(policy_loss="cispo"),
    ),
    "sapo": Preset(
        "2511.20347",
        "a soft gate in place of the clip",
        _direct(policy_loss="sapo", aggregation="seq_mean_token_mean"),
    ),
    "dppo_tv": Preset(
        "2602.04879",
        "a bound on the probability itself",
        _direct(policy_loss="dppo_tv"),
    ),
    "m2po": Preset(
        "2510.01161",
        "no clip; the tokens that moved most do not train",
        _direct(policy_loss="m2po"),
    ),
    "gigpo": Preset(
        "2505.10978",
        "GRPO, and turns in the same state compared with each other",
        _direct(turn_credit="gigpo", aggregation="seq_mean_token_mean", kl_in_loss=0.01),
    ),
    "max_rl": Preset(
        "as in SkyRL and prime-rl",
        "the rarer a success is in its group, the more it weighs",
        _direct(advantage="max_rl", reward_low=0.0),
    ),
    "rft": Preset(
        "2308.01825",
        "supervised steps on the episodes that passed",
        _direct(advantage="rejection_sampling", policy_loss="score_function"),
    ),
    "decoupled": Preset(
        "2505.24298",
        "GRPO around the measured policy; tokens of other policies are weighted, the farthest dropped",
        Composition(),
    ),
}


def preset(name: str, presets: Mapping[str, Preset] = PRESETS) -> Preset:
    """The algorithm of this name; ValueError with the nearest name if there is none."""
    if name in presets:
        return presets[name]
    near = nearest(name, presets)
    remedy = f"did you mean {near}?" if near else f"choose one of {', '.join(presets)}"
    raise ValueError(f"there is no algorithm {name}; {remedy}")


def starting_point(
    name: str, overridden: Mapping[str, object], presets: Mapping[str, Preset] = PRESETS
) -> dict[str, object]:
    """The preset's parts as far as `overridden` leaves them; another loss or correction brings its own bounds."""
    base = preset(name, presets).parts
    parts: dict[str, object] = base.model_dump()
    loss, correction = (
        str(overridden.get(choice, parts[choice])) for choice in ("policy_loss", "correction")
    )
    if loss != base.policy_loss and loss in base.known.policy_loss:
        _bound(parts, "clip", base.known.policy_loss[loss].usual_clip)
    if correction != base.correction and correction in base.known.correction:
        _bound(parts, "correction", base.known.correction[correction].usual_bounds)
    return parts


def _bound(parts: dict[str, object], part: str, bounds: tuple[float, float] | None) -> None:
    if bounds is not None:
        parts[f"{part}_low"], parts[f"{part}_high"] = bounds


def origins(
    name: str, parts: Composition, presets: Mapping[str, Preset] = PRESETS
) -> dict[str, str]:
    """Where each value of a composition comes from: the preset, the choice whose usual bound it is, or a setting."""
    base = preset(name, presets).parts.model_dump()
    chosen = {"policy_loss": parts.policy_loss, "correction": parts.correction}
    usual = starting_point(name, chosen, presets)
    found = {}
    for part, value in parts.model_dump().items():
        choice = parts.correction if part.startswith("correction_") else parts.policy_loss
        if value == base[part]:
            found[part] = name
        else:
            found[part] = choice if part in BOUNDS and value == usual[part] else "set"
    return found
