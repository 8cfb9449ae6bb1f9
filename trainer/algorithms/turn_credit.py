"""Turn credit: how the turns of an episode share its advantage, or get one of their own."""

from dataclasses import dataclass

from torch import Tensor

from trainer.algorithms.advantage.gigpo import gigpo, state_advantages
from trainer.algorithms.advantage.returns import turn_returns
from trainer.algorithms.entry import Entry, Formula, Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCredit(Entry):
    """The credit of an output beside or instead of the advantage of its episode."""

    step: Formula | None = None  # from returns, groups and states `[outputs]`; None: no own credit
    takes_advantage: bool = True


def shared(advantages: Tensor) -> Tensor:
    """Turns have no credit of their own: each token gets that of its episode, or its return"""
    return advantages


def own_return(returns: Tensor) -> Tensor:
    """The return of the output: its reward and those of later turns."""
    return returns


def among_states(returns: Tensor, *, groups: Tensor, states: Tensor, weight: float) -> Tensor:
    """GiGPO's second term: returns compared among the outputs that continue the same context."""
    return weight * state_advantages(returns, groups=groups, states=states)


TURN_CREDITS = (
    TurnCredit(name="episode", formula=shared),
    TurnCredit(name="turn_discount", formula=turn_returns, step=own_return, takes_advantage=False),
    TurnCredit(
        name="gigpo",
        formula=gigpo,
        step=among_states,
        settings=(
            Setting(
                "gigpo_weight",
                1.0,
                "weight of the comparison among turns in the same state",
                parameter="weight",
                ge=0,
            ),
        ),
    ),
)
