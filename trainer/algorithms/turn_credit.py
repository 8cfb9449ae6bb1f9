"""What the turns of an episode get for themselves."""

from dataclasses import dataclass

from torch import Tensor

from trainer.algorithms.advantage.gigpo import gigpo, state_advantages
from trainer.algorithms.advantage.returns import turn_returns
from trainer.algorithms.entry import Entry, Formula, Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCredit(Entry):
    """What an output gets beside or instead of its episode's advantage."""

    step: Formula | None = None  # of returns, groups and states `[outputs]`; None: nothing
    takes_advantage: bool = True


def shared(advantages: Tensor) -> Tensor:
    """Turns have no credit of their own: each token has its episode's, or what is still to come"""
    return advantages


def own_return(returns: Tensor) -> Tensor:
    """What an output and the later turns earn."""
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
                "of the comparison among turns that saw the same",
                parameter="weight",
                ge=0,
            ),
        ),
    ),
)
