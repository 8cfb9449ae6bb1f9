"""The algorithms by name: each a paper, and the composition that it is here.

Where a paper measures its ratio from "the old policy", a preset takes the one that sampled the token (`proximal = behavior`): nothing is
recomputed and the clip holds staleness in check. `decoupled` tells the two apart and takes one step from a policy it has measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rollout.suggestions import nearest
from trainer.composition.composition import Composition

DEFAULT = "decoupled"

CLIP_BOUNDS: Mapping[str, tuple[float, float]] = {
    "ppo_clip": (0.2, 0.2),
    "gspo": (3e-4, 4e-4),
    "gspo_token": (3e-4, 4e-4),
}
CORRECTION_BOUNDS: Mapping[str, tuple[float, float]] = {
    "tis": (0.0, 2.0),
    "icepop": (0.5, 5.0),
    "seq_tis": (0.0, 3.0),
    "seq_mis": (0.0, 3.0),
    "geo_mask": (0.999, 1.002),
}


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
        "GRPO that clips higher, replaces groups of equal rewards and shies away from length",
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
        "the reward itself, for tokens of the present policy",
        _direct(advantage="reinforce", policy_loss="score_function"),
    ),
    "reinforce_plus_plus": Preset(
        "2501.03262",
        "the reward to come, whitened over the batch",
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
        "the ratio is cut, the token never",
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
        "no clip; the tokens that moved most stay out",
        _direct(policy_loss="m2po"),
    ),
    "gigpo": Preset(
        "2505.10978",
        "GRPO, and turns that saw the same compared with each other",
        _direct(turn_credit="gigpo", aggregation="seq_mean_token_mean", kl_in_loss=0.01),
    ),
    "max_rl": Preset(
        "as in SkyRL and prime-rl",
        "a success weighs as much as it is rare in its group",
        _direct(advantage="max_rl", reward_low=0.0),
    ),
    "rft": Preset(
        "2308.01825",
        "supervised steps on the episodes that passed",
        _direct(advantage="rejection_sampling", policy_loss="score_function"),
    ),
    "decoupled": Preset(
        "2505.24298",
        "GRPO around the measured policy; tokens of other policies are weighted, far ones dropped",
        Composition(),
    ),
}


def preset(name: str) -> Preset:
    """The algorithm of this name; ValueError with the nearest name if there is none."""
    if name in PRESETS:
        return PRESETS[name]
    near = nearest(name, PRESETS)
    remedy = f"did you mean {near}?" if near else f"choose one of {', '.join(PRESETS)}"
    raise ValueError(f"there is no algorithm {name}; {remedy}")


def starting_point(name: str, overridden: Mapping[str, object]) -> dict[str, object]:
    """The preset's parts as far as `overridden` leaves them; another loss or correction brings its own bounds."""
    parts: dict[str, object] = preset(name).parts.model_dump()
    for choice, table, part in (
        ("policy_loss", CLIP_BOUNDS, "clip"),
        ("correction", CORRECTION_BOUNDS, "correction"),
    ):
        chosen = overridden.get(choice, parts[choice])
        if chosen != parts[choice] and chosen in table:
            parts[f"{part}_low"], parts[f"{part}_high"] = table[str(chosen)]
    return parts


def origins(name: str, parts: Composition) -> dict[str, str]:
    """Where each value of a composition comes from: the preset, the choice whose usual bound it is, or a setting."""
    base = preset(name).parts.model_dump()
    usual = starting_point(name, {"policy_loss": parts.policy_loss, "correction": parts.correction})
    found = {}
    for part, value in parts.model_dump().items():
        choice = parts.correction if part.startswith("correction_") else parts.policy_loss
        if value == base[part]:
            found[part] = name
        else:
            found[part] = choice if part in BOUNDS and value == usual[part] else "set"
    return found
