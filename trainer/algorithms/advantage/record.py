"""The record of an advantage."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from trainer.algorithms.advantage.running_baseline import RunningBaseline
from trainer.algorithms.entry import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Advantage(Entry):
    """Rewards `[N]` of episodes to advantages `[N]`; compared within groups if the formula reads them."""

    inputs: ClassVar = frozenset({"rewards", "groups"})
    # How a group of one is compared with the running baseline: in the unit that its formula has within groups.
    single: Callable[[RunningBaseline, Tensor], Tensor] = RunningBaseline.differences
    divides_by_deviation: bool = False
    imitates: bool = False  # advantages are 1 or 0
    is_return: bool = False  # a token gets what is still to come, discounted
    from_values: Callable[..., tuple[Tensor, Tensor]] | None = None  # (A, R) with a critic

    @property
    def needs_critic(self) -> bool:
        return self.from_values is not None

    @property
    def is_group_relative(self) -> bool:
        return self.reads("groups")
