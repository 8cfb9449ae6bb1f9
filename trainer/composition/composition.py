"""What an algorithm is here: a choice for each part, and the numbers those choices read.

It only names parts: `batch/credit.py` computes advantages from it, `objective/objective.py` the loss; `presets.py` gives compositions
their names. The defaults are those of `decoupled`, the usual asynchronous GRPO.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

from pydantic import ConfigDict, Field

from trainer.algorithms.advantage.record import Advantage
from trainer.algorithms.corrections import Correction
from trainer.algorithms.entry import Entry
from trainer.algorithms.loss.record import PolicyLoss
from trainer.algorithms.proximal import Proximal
from trainer.algorithms.turn_credit import TurnCredit
from trainer.composition.registry import BUILT_IN, Choosing, Registry, choosing_from


@choosing_from(BUILT_IN)
class Composition(Choosing):
    """One algorithm. Each field is a setting too, `TURNGATE_TRAINER_<NAME>`, which overrides the preset's.

    The settings of single entries are fields that the decorator adds.
    """

    known: ClassVar[Registry] = BUILT_IN
    model_config = ConfigDict(frozen=True, extra="forbid")

    reward_scale: float = Field(
        default=1.0, description="factor of the rewards, before their bounds"
    )
    reward_low: float = Field(
        default=float("-inf"), description="rewards below it are raised to it"
    )
    reward_high: float = Field(
        default=float("inf"), description="rewards above it are lowered to it"
    )
    overlong: Literal["none", "soft", "filter"] = Field(
        default="none",
        description="what happens to long episodes: nothing, a growing penalty, or rows that a length limit cut do not train",
    )
    overlong_length: int = Field(
        default=0, ge=0, description="sampled tokens of an episode at which the penalty reaches -1"
    )
    overlong_cache: int = Field(
        default=0,
        ge=0,
        description="the penalty grows from 0 to -1 over this number of tokens before overlong_length",
    )
    dynamic_sampling: float = Field(
        default=0.0,
        ge=0,
        description="groups of equal rewards are replaced, per batch at most this number times groups_per_batch; 0 keeps them",
    )

    reward_transform: str = Field(
        default="none",
        description="a plug-in's function of the rewards, applied before reward_scale",
    )
    episode_filter: str = Field(
        default="none", description="a plug-in's choice of the episodes that train"
    )

    advantage: str = Field(default="grpo", description="how a reward becomes an advantage")
    turn_credit: str = Field(
        default="episode", description="whether the turns of an episode share one advantage"
    )
    discount: float = Field(
        default=1.0, gt=0, le=1, description="factor of later rewards per sampled token"
    )
    turn_discount: float = Field(
        default=0.95, gt=0, le=1, description="factor of later rewards per turn"
    )
    whitening: Literal["none", "tokens"] = Field(
        default="none",
        description="advantages are shifted and scaled to mean 0 and variance 1 over the batch's tokens",
    )

    lambda_policy: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="lambda of GAE for advantages: at 1 they follow the rewards alone, below 1 also the critic",
    )
    lambda_alpha: float = Field(
        default=0.0,
        ge=0,
        description="above 0, lambda_policy is 1 - 1 / (this * sampled tokens of the episode); 0.05 in VAPO",
    )
    lambda_critic: float = Field(
        default=1.0, ge=0, le=1, description="lambda of GAE for the returns that the critic learns"
    )
    at_limit: Literal["bootstrap", "end"] = Field(
        default="bootstrap",
        description="the value after an episode that a length or turn limit cut, for GAE: that of the critic, or 0",
    )
    value_clip: float = Field(
        default=0.2,
        ge=0,
        description="the loss of the critic bounds the change of a value since the batch was measured; 0 is no bound",
    )
    critic_warmup: int = Field(
        default=0, ge=0, description="batches at the start that train the critic alone"
    )
    critic_learning_rate: float = Field(
        default=1e-3, gt=0, description="learning rate of the critic, on the schedule of the policy"
    )

    policy_loss: str = Field(default="ppo_clip", description="the loss of a token")
    clip_low: float = Field(
        default=0.2, gt=0, lt=1, description="the ratio is bounded below by 1 - this"
    )
    clip_high: float = Field(
        default=0.28, gt=0, description="the ratio is bounded above by 1 + this"
    )
    dual_clip: float = Field(
        default=0.0, ge=0, description="bound of the loss where A < 0, in units of -A; 0 is none"
    )
    opsm_delta: float = Field(
        default=0.0,
        ge=0,
        description="rows with A < 0 do not train if their mean of behav_logp - logp is above it; 0 keeps all",
    )

    proximal: str = Field(
        default="recompute",
        description="the policy ratios start from: measured, interpolated, or the one that sampled",
    )
    correction: str = Field(
        default="icepop",
        description="the weight of tokens that another policy than the proximal one sampled",
    )
    correction_low: float = Field(
        default=0.5, ge=0, description="lower bound of the importance weight"
    )
    correction_high: float = Field(
        default=5.0, gt=0, description="upper bound of the importance weight"
    )

    kl_in_loss: float = Field(
        default=0.0, ge=0, description="weight of the KL to the reference in the loss"
    )
    kl_in_reward: float = Field(
        default=0.0,
        ge=0,
        description="weight of the KL to the reference (k1) that is subtracted from the rewards",
    )
    kl_estimator: str = Field(default="k3", description="estimator of the KL in the loss")
    entropy_bonus: float = Field(default=0.0, description="weight of the entropy in the loss")

    minibatches: int = Field(
        default=1,
        ge=1,
        description="optimizer steps per batch and epoch, each on some of its groups; all steps make one policy",
    )
    epochs: int = Field(default=1, ge=1, description="times that a batch is trained on")

    aggregation: str = Field(default="token_mean", description="what the loss is averaged over")

    def reads(self, name: str) -> bool:
        """Whether a part's value matters under the choices made for the others."""
        if any(name == setting.name for setting in self.known.settings):
            return any(name == setting.name for entry in self.entries for setting in entry.settings)
        return READ_IF[name](self) if name in READ_IF else True

    def own(self, entry: Entry) -> dict[str, object]:
        """The settings of an entry, by the parameters that they fill."""
        return {setting.fills: getattr(self, setting.name) for setting in entry.settings}

    @property
    def entries(self) -> list[Entry]:
        """The entries that the composition is made of."""
        chosen = {choice: getattr(self, choice) for choice in self.known.tables}
        return [
            self.known.tables[choice][name] for choice, name in chosen.items() if self.reads(choice)
        ]

    @property
    def loss_entry(self) -> PolicyLoss:
        return self.known.policy_loss[self.policy_loss]

    @property
    def advantage_entry(self) -> Advantage:
        return self.known.advantage[self.advantage]

    @property
    def turn_entry(self) -> TurnCredit:
        return self.known.turn_credit[self.turn_credit]

    @property
    def correction_entry(self) -> Correction:
        return self.known.correction[self.correction]

    @property
    def proximal_entry(self) -> Proximal:
        return self.known.proximal[self.proximal]

    @property
    def steps_per_batch(self) -> int:
        """Optimizer steps between two policies."""
        return self.minibatches * self.epochs

    @property
    def is_group_relative(self) -> bool:
        """Whether an episode is compared with its group."""
        return self.advantage_entry.is_group_relative

    @property
    def needs_critic(self) -> bool:
        """Whether a second model learns values."""
        turns = self.turn_entry
        return self.advantage_entry.needs_critic and turns.takes_advantage and turns.step is None

    @property
    def needs_reference(self) -> bool:
        """Whether a frozen policy's logprobs enter."""
        return self.kl_in_loss > 0 or self.kl_in_reward > 0

    @property
    def needs_proximal_pass(self) -> bool:
        """Whether the policy must be measured before it moves; a mask over the whole step is made from it."""
        return self.proximal_entry.needs_pass or self.loss_entry.step_mask is not None

    @property
    def needs_every_row(self) -> bool:
        """Whether a row can matter that has no advantage: by a term of its own, or in a statistic."""
        own_term = self.needs_reference or self.entropy_bonus != 0 or self._loss_has_own_term
        return own_term or self.loss_entry.step_mask is not None or self.needs_critic

    @property
    def is_against_behavior(self) -> bool:
        """Whether the loss's ratio already starts from the policy that sampled."""
        return self.proximal == "behavior" or self.loss_entry.ratio_from == "behavior"

    @property
    def _loss_has_own_term(self) -> bool:
        return any(s.adds_term and getattr(self, s.name) > 0 for s in self.loss_entry.settings)


def _takes_advantage(parts: Composition) -> bool:
    return parts.turn_entry.takes_advantage


def _needs_critic(parts: Composition) -> bool:
    return parts.needs_critic


def _clips(parts: Composition) -> bool:
    return parts.loss_entry.clips


# Values that only some choices read; every other part is always read.
READ_IF: Mapping[str, Callable[[Composition], bool]] = {
    "reward_transform": lambda parts: parts.reward_transform != "none",
    "episode_filter": lambda parts: parts.episode_filter != "none",
    "overlong_length": lambda parts: parts.overlong == "soft",
    "overlong_cache": lambda parts: parts.overlong == "soft",
    "advantage": _takes_advantage,
    "discount": lambda parts: parts.advantage_entry.is_return and _takes_advantage(parts),
    "turn_discount": lambda parts: parts.turn_entry.step is not None,
    "lambda_policy": lambda parts: parts.needs_critic and parts.lambda_alpha == 0,
    **dict.fromkeys(("lambda_alpha", "lambda_critic", "at_limit", "value_clip"), _needs_critic),
    **dict.fromkeys(("critic_warmup", "critic_learning_rate"), _needs_critic),
    **dict.fromkeys(("clip_low", "clip_high", "dual_clip"), _clips),
    "correction_low": lambda parts: parts.correction_entry.reads("low"),
    "kl_estimator": lambda parts: parts.kl_in_loss > 0,
}
