"""What an algorithm is here: a choice for each part, and the numbers those choices read.

The record names its parts and nothing else: `credit.py` and `batch.py` turn rewards into advantages and weights by it, `objective.py`
turns logprobs into a loss, `presets.py` gives the records their names. The defaults are `decoupled`, today's usual asynchronous GRPO.
"""

from collections.abc import Callable, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Advantage = Literal[
    "grpo",
    "dr_grpo",
    "rloo",
    "lite_ppo",
    "max_rl",
    "best_of_group",
    "rejection_sampling",
    "reinforce",
    "gae",
]
TurnCredit = Literal["episode", "turn_discount", "gigpo"]
Aggregation = Literal[
    "token_mean",
    "seq_mean_token_mean",
    "seq_mean_token_sum",
    "drgrpo",
    "prompt_mean",
    "traj_mean_token_mean",
]
PolicyLoss = Literal[
    "score_function", "ppo_clip", "gspo", "gspo_token", "cispo", "sapo", "dppo_tv", "m2po"
]
Proximal = Literal["recompute", "log_linear", "behavior"]
Correction = Literal["none", "tis", "icepop", "seq_tis", "seq_mis", "geo_mask"]
KlEstimator = Literal["k1", "k2", "k3", "k3_straight_through", "k3_off_policy"]

GROUP_RELATIVE: frozenset[Advantage] = frozenset(
    {"grpo", "dr_grpo", "rloo", "lite_ppo", "max_rl", "best_of_group"}
)
IMITATING: frozenset[Advantage] = frozenset({"best_of_group", "rejection_sampling"})
RETURNS: frozenset[Advantage] = frozenset({"reinforce", "gae"})
CLIPPING: frozenset[PolicyLoss] = frozenset({"ppo_clip", "gspo", "gspo_token"})
AGAINST_BEHAVIOR: frozenset[PolicyLoss] = frozenset({"dppo_tv", "m2po"})
PER_SEQUENCE_LOSSES: frozenset[PolicyLoss] = frozenset({"gspo", "gspo_token"})


class Composition(BaseModel):
    """One algorithm. Each field is a setting too, `TURNGATE_TRAINER_<NAME>`, which overrides the preset's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reward_scale: float = Field(default=1.0, description="rewards are multiplied by it, then cut")
    reward_low: float = Field(default=float("-inf"), description="rewards are cut below it")
    reward_high: float = Field(default=float("inf"), description="rewards are cut above it")
    overlong: Literal["none", "soft", "filter"] = Field(
        default="none",
        description="what happens to long episodes: nothing, a growing penalty, or outputs cut by length do not train",
    )
    overlong_length: int = Field(
        default=0, ge=0, description="sampled tokens of an episode at which the penalty reaches -1"
    )
    overlong_cache: int = Field(
        default=0, ge=0, description="over so many tokens before that the penalty grows"
    )
    dynamic_sampling: float = Field(
        default=0.0,
        ge=0,
        description="groups of equal rewards are replaced, at most so many batches' worth per batch; 0 keeps them",
    )

    advantage: Advantage = Field(default="grpo", description="what a reward is compared with")
    acceptance_threshold: float = Field(
        default=0.0, description="rejection_sampling imitates what has a reward above it"
    )
    turn_credit: TurnCredit = Field(
        default="episode", description="whether the turns of an episode share one advantage"
    )
    discount: float = Field(
        default=1.0, gt=0, le=1, description="of what is to come, per sampled token"
    )
    turn_discount: float = Field(default=0.95, gt=0, le=1, description="the same, per turn")
    gigpo_weight: float = Field(
        default=1.0, ge=0, description="of the comparison among turns that saw the same"
    )
    whitening: Literal["none", "tokens"] = Field(
        default="none", description="advantages to mean 0 and variance 1 over the batch's tokens"
    )

    lambda_policy: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="GAE's, for advantages: 1 trusts the rewards alone, less also the critic",
    )
    lambda_alpha: float = Field(
        default=0.0,
        ge=0,
        description="lambda_policy grows with the sampled tokens of an episode instead; VAPO has 0.05, 0 does not",
    )
    lambda_critic: float = Field(
        default=1.0, ge=0, le=1, description="GAE's, for the returns that the critic learns"
    )
    at_limit: Literal["bootstrap", "end"] = Field(
        default="bootstrap",
        description="what GAE has follow an episode that a length or turn limit cut: what the critic expects, or nothing",
    )
    value_clip: float = Field(
        default=0.2,
        ge=0,
        description="a value matters up to this far from what it was before the first step; 0 bounds nothing",
    )
    critic_warmup: int = Field(
        default=0, ge=0, description="batches at the start that train the critic alone"
    )
    critic_learning_rate: float = Field(
        default=1e-3, gt=0, description="of the critic, on the policy's schedule"
    )

    policy_loss: PolicyLoss = Field(default="ppo_clip", description="the loss of a token")
    clip_low: float = Field(
        default=0.2, gt=0, lt=1, description="the ratio matters down to 1 - this"
    )
    clip_high: float = Field(default=0.28, gt=0, description="the ratio matters up to 1 + this")
    dual_clip: float = Field(
        default=0.0, ge=0, description="bound of the loss where A < 0, in units of -A; 0 is none"
    )
    ratio_max: float = Field(default=5.0, gt=0, description="CISPO's bound of the ratio")
    temperature_positive: float = Field(default=1.0, gt=0, description="SAPO's, where A > 0")
    temperature_negative: float = Field(default=1.05, gt=0, description="SAPO's, where A <= 0")
    dppo_delta: float = Field(
        default=0.2, gt=0, description="DPPO's bound of a probability's change"
    )
    dppo_penalty: float = Field(default=0.0, ge=0, description="DPPO's weight of (logp - behav)^2")
    m2po_threshold: float = Field(
        default=0.04, gt=0, description="M2PO's bound of the mean squared log-ratio"
    )
    opsm_delta: float = Field(
        default=0.0,
        ge=0,
        description="rows with A < 0 that drifted further do not train; 0 is none",
    )

    proximal: Proximal = Field(
        default="recompute",
        description="the policy ratios start from: measured, interpolated, or the one that sampled",
    )
    correction: Correction = Field(
        default="icepop", description="how tokens of other policies than the proximal are weighted"
    )
    correction_low: float = Field(default=0.5, ge=0, description="bound of the importance weight")
    correction_high: float = Field(default=5.0, gt=0, description="bound of the importance weight")

    kl_in_loss: float = Field(
        default=0.0, ge=0, description="weight of the KL to the reference in the loss"
    )
    kl_in_reward: float = Field(default=0.0, ge=0, description="the same, in the reward, by k1")
    kl_estimator: KlEstimator = Field(default="k3", description="of the KL in the loss")
    entropy_bonus: float = Field(default=0.0, description="weight of the entropy in the loss")

    minibatches: int = Field(
        default=1,
        ge=1,
        description="optimizer steps per batch and epoch, each on some of its groups; one policy comes of them",
    )
    epochs: int = Field(default=1, ge=1, description="how often a batch is gone through")

    aggregation: Aggregation = Field(
        default="token_mean", description="what the loss is averaged over"
    )
    generation_budget: int = Field(
        default=0, ge=0, description="drgrpo's constant: tokens an output may have"
    )

    def reads(self, name: str) -> bool:
        """Whether a part's value matters under the choices made for the others."""
        return READ_IF[name](self) if name in READ_IF else True

    @property
    def steps_per_batch(self) -> int:
        """Optimizer steps between two policies."""
        return self.minibatches * self.epochs

    @property
    def is_group_relative(self) -> bool:
        """Whether an episode is compared with its group."""
        return self.advantage in GROUP_RELATIVE

    @property
    def needs_critic(self) -> bool:
        """Whether a second model says what to expect."""
        return self.advantage == "gae" and self.turn_credit == "episode"

    @property
    def needs_reference(self) -> bool:
        """Whether a frozen policy's logprobs enter."""
        return self.kl_in_loss > 0 or self.kl_in_reward > 0

    @property
    def needs_proximal_pass(self) -> bool:
        """Whether the policy must be measured before it moves; M2PO judges tokens by it."""
        return self.proximal == "recompute" or self.policy_loss == "m2po"

    @property
    def needs_every_row(self) -> bool:
        """Whether a row can matter that has no advantage: by a term of its own, or in a statistic."""
        own_term = self.needs_reference or self.entropy_bonus != 0 or self._penalizes_drift
        return own_term or self.policy_loss == "m2po" or self.needs_critic

    @property
    def is_against_behavior(self) -> bool:
        """Whether the loss's ratio already starts from the policy that sampled."""
        return self.proximal == "behavior" or self.policy_loss in AGAINST_BEHAVIOR

    @property
    def _penalizes_drift(self) -> bool:
        return self.policy_loss == "dppo_tv" and self.dppo_penalty > 0


# Numbers that only some choices read; every other part is always read.
READ_IF: Mapping[str, Callable[[Composition], bool]] = {
    "overlong_length": lambda parts: parts.overlong == "soft",
    "overlong_cache": lambda parts: parts.overlong == "soft",
    "advantage": lambda parts: parts.turn_credit != "turn_discount",
    "acceptance_threshold": lambda parts: (
        parts.advantage == "rejection_sampling" and parts.turn_credit != "turn_discount"
    ),
    "discount": lambda parts: parts.advantage in RETURNS and parts.turn_credit != "turn_discount",
    "turn_discount": lambda parts: parts.turn_credit != "episode",
    "gigpo_weight": lambda parts: parts.turn_credit == "gigpo",
    "lambda_policy": lambda parts: parts.needs_critic and parts.lambda_alpha == 0,
    "lambda_alpha": lambda parts: parts.needs_critic,
    "lambda_critic": lambda parts: parts.needs_critic,
    "at_limit": lambda parts: parts.needs_critic,
    "value_clip": lambda parts: parts.needs_critic,
    "critic_warmup": lambda parts: parts.needs_critic,
    "critic_learning_rate": lambda parts: parts.needs_critic,
    "clip_low": lambda parts: parts.policy_loss in CLIPPING,
    "clip_high": lambda parts: parts.policy_loss in CLIPPING,
    "dual_clip": lambda parts: parts.policy_loss in CLIPPING,
    "ratio_max": lambda parts: parts.policy_loss == "cispo",
    "temperature_positive": lambda parts: parts.policy_loss == "sapo",
    "temperature_negative": lambda parts: parts.policy_loss == "sapo",
    "dppo_delta": lambda parts: parts.policy_loss == "dppo_tv",
    "dppo_penalty": lambda parts: parts.policy_loss == "dppo_tv",
    "m2po_threshold": lambda parts: parts.policy_loss == "m2po",
    "correction_low": lambda parts: parts.correction in {"tis", "icepop", "geo_mask"},
    "kl_estimator": lambda parts: parts.kl_in_loss > 0,
    "generation_budget": lambda parts: parts.aggregation == "drgrpo",
}
