"""A composition and what it will meet: what the rules judge."""

from dataclasses import dataclass
from math import isfinite
from typing import Self

from trainer.composition.composition import AGAINST_BEHAVIOR, IMITATING, RETURNS, Composition
from trainer.composition.presets import origins
from trainer.feed.replay_buffer import Order
from trainer.settings import Settings


@dataclass(frozen=True, slots=True)
class Setup:
    parts: Composition
    group_size: int = 8
    groups_per_batch: int = 8
    max_staleness: int = 4
    buffer_groups: int = 0
    batch_order: Order = "oldest"
    has_reference_dir: bool = False
    overridden: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        parts = settings.parts
        came_from = origins(settings.algorithm, parts)
        return cls(
            parts,
            group_size=settings.group_size,
            groups_per_batch=settings.groups_per_batch,
            max_staleness=settings.max_staleness,
            buffer_groups=settings.buffer_groups,
            batch_order=settings.batch_order,
            has_reference_dir=settings.reference_dir is not None,
            overridden=frozenset(name for name, origin in came_from.items() if origin == "set"),
        )

    @property
    def values(self) -> dict[str, object]:
        """What a problem may name in braces."""
        return self.parts.model_dump() | {
            "unread": ", ".join(self.unread),
            "groups_per_batch": self.groups_per_batch,
        }

    @property
    def ratio_is_one(self) -> bool:
        """The only step of a batch from a measured policy never sees the ratio move."""
        is_measured = self.parts.proximal == "recompute"
        starts_there = self.parts.policy_loss not in AGAINST_BEHAVIOR
        return is_measured and starts_there and self.parts.steps_per_batch == 1

    @property
    def advantages_differ_within_rows(self) -> bool:
        parts = self.parts
        by_token = parts.advantage in RETURNS and (parts.discount < 1 or parts.kl_in_reward > 0)
        return parts.turn_credit != "episode" or by_token or parts.needs_critic

    @property
    def reads_proximal(self) -> bool:
        """Whether the proximal policy enters a loss, a weight or a penalty."""
        parts = self.parts
        is_origin = parts.policy_loss not in AGAINST_BEHAVIOR
        enters_kl = parts.kl_in_loss > 0 and parts.kl_estimator == "k3_off_policy"
        return is_origin or enters_kl or parts.kl_in_reward > 0 or parts.correction != "none"

    @property
    def lowest_weight(self) -> float:
        """Of an importance weight that is not rejected."""
        return self.parts.correction_low if self.parts.reads("correction_low") else 0.0

    @property
    def imitates(self) -> bool:
        """Whether advantages are 1 or 0."""
        return self.parts.reads("advantage") and self.parts.advantage in IMITATING

    @property
    def num_replaceable(self) -> int:
        """Groups that dynamic sampling may replace per batch."""
        return round(self.parts.dynamic_sampling * self.groups_per_batch)

    @property
    def cut_rewards(self) -> bool:
        return isfinite(self.parts.reward_low) or isfinite(self.parts.reward_high)

    @property
    def unread(self) -> list[str]:
        """Parts that were set and that nothing reads."""
        return sorted(name for name in self.overridden if not self.parts.reads(name))
