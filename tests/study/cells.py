"""What is compared: five ways to treat tokens of older policies, four ages of those tokens, some seeds.

Nothing else differs: all take GRPO's advantages, without a critic or a KL term, and the mean over tokens.
"""

from collections.abc import Iterable, Mapping

import msgspec

from trainer.composition.composition import Composition


def _against_behavior(**choices: object) -> Composition:
    """Ratios from the policy that sampled: nothing is recomputed and no weight is put on top."""
    usual = {"proximal": "behavior", "correction": "none", "clip_low": 0.2, "clip_high": 0.2}
    return Composition.model_validate(usual | choices)


def _against_proximal(**choices: object) -> Composition:
    """Ratios from the policy before the step, which one step per batch leaves at 1; the weight is what differs."""
    usual = {"proximal": "recompute", "clip_low": 0.2, "clip_high": 0.2}
    return Composition.model_validate(usual | choices)


ALGORITHMS: Mapping[str, Composition] = {
    "PPO": _against_behavior(),
    "decoupled": _against_proximal(correction="tis", correction_low=0.0, correction_high=2.0),
    "IcePop": _against_proximal(correction="icepop", correction_low=0.5, correction_high=5.0),
    "CISPO": _against_behavior(policy_loss="cispo", ratio_max=5.0),
    "M2PO": _against_behavior(policy_loss="m2po", m2po_threshold=0.04),
}
STALENESS = (0, 4, 16, 64)


class Run(msgspec.Struct, frozen=True):
    """One training run. The data of update t were sampled by the policy after update max(0, t - staleness)."""

    algorithm: str
    staleness: int
    seed: int

    def __str__(self) -> str:
        return f"{self.algorithm}, staleness {self.staleness}, seed {self.seed}"


class Recipe(msgspec.Struct, frozen=True):
    """What all runs share."""

    updates: int = 96
    groups: int = 4
    group_size: int = 8
    learning_rate: float = 3e-4
    evaluate_every: int = 16
    held_out: int = 200


def runs(seeds: Iterable[int]) -> list[Run]:
    """All cells of one seed before the next, so that what is there is balanced at any time."""
    return [
        Run(algorithm, staleness, seed)
        for seed in seeds
        for staleness in STALENESS
        for algorithm in ALGORITHMS
    ]
