"""A composition and the settings that matter beside it: the input of the rules."""

from dataclasses import dataclass
from math import isfinite
from typing import Self

from trainer.composition.composition import Composition
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
        came_from = origins(settings.algorithm, parts, settings.presets)
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
        """Values that a problem may contain in braces."""
        return self.parts.model_dump() | {
            "unread": ", ".join(self.unread),
            "groups_per_batch": self.groups_per_batch,
        }

    def value(self, name: str) -> float:
        """A setting that belongs to one entry."""
        value: float = getattr(self.parts, name)
        return value

    @property
    def clips(self) -> bool:
        return self.parts.loss_entry.clips

    @property
    def has_ratio(self) -> bool:
        """Without one, the loss takes every token for one of the current policy."""
        return self.parts.loss_entry.ratio_from != "current"

    @property
    def never_bounds(self) -> bool:
        """Whether a bound of the loss is wider than any ratio that occurs."""
        return any(self.value(s.name) >= s.idle_from for s in self.parts.loss_entry.settings)

    @property
    def ratio_is_one(self) -> bool:
        """Whether the ratio is always 1: one step per batch, from a policy measured just before."""
        is_measured = self.parts.proximal == "recompute"
        starts_there = self.parts.loss_entry.ratio_from != "behavior"
        return is_measured and starts_there and self.parts.steps_per_batch == 1

    @property
    def advantages_differ_within_rows(self) -> bool:
        parts = self.parts
        pays_by_token = parts.discount < 1 or parts.kl_in_reward > 0
        by_token = parts.advantage_entry.is_return and pays_by_token
        return parts.turn_entry.step is not None or by_token or parts.needs_critic

    @property
    def reads_proximal(self) -> bool:
        """Whether the proximal policy enters a loss, a weight or a penalty."""
        parts = self.parts
        is_origin = parts.loss_entry.ratio_from != "behavior"
        enters_kl = parts.kl_in_loss > 0 and parts.kl_estimator == "k3_off_policy"
        return is_origin or enters_kl or parts.kl_in_reward > 0 or parts.correction != "none"

    @property
    def lowest_weight(self) -> float:
        """The lowest importance weight that is not rejected."""
        return self.parts.correction_low if self.parts.reads("correction_low") else 0.0

    @property
    def imitates(self) -> bool:
        """Whether advantages are 1 or 0."""
        return self.parts.reads("advantage") and self.parts.advantage_entry.imitates

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
