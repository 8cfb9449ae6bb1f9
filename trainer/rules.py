"""The rules by which a composition is judged before it runs: what would waste a run, and what to do instead.

`findings.py` applies them. A problem may name parts in braces; a remedy names settings as `--set trainer.<name>=…` takes them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from trainer.composition import AGAINST_BEHAVIOR, CLIPPING, IMITATING, PER_SEQUENCE_LOSSES
from trainer.setup import Setup

DIVIDES_BY_DEVIATION = frozenset({"grpo", "lite_ppo"})
WIDEST_CLIP = 3.0  # a ratio beyond 4 is an accident that the clip is there for
WIDEST_GSPO_CLIP = 0.05  # a mean log-ratio of this size is a ratio of e^50 over a thousand tokens
NARROWEST_TOKEN_CLIP = 0.01
WIDEST_GEOMETRIC_BOUND = 1.5


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    severity: Severity
    applies: Callable[[Setup], bool]
    problem: str
    remedy: str


def _error(name: str, applies: Callable[[Setup], bool], problem: str, remedy: str) -> Rule:
    return Rule(name, Severity.ERROR, applies, problem, remedy)


def _warning(name: str, applies: Callable[[Setup], bool], problem: str, remedy: str) -> Rule:
    return Rule(name, Severity.WARNING, applies, problem, remedy)


RULES = (
    _error(
        "no_critic",
        lambda at: at.parts.advantage == "gae",
        "advantage gae needs a critic, and none is trained here",
        "set advantage=reinforce, which is gae with gamma = lambda = 1 and V = 0",
    ),
    _error(
        "equal_rewards",
        lambda at: at.parts.reward_scale == 0 or at.parts.reward_low >= at.parts.reward_high,
        "after scaling and cutting all rewards are equal, so every advantage is 0",
        "set reward_scale other than 0 and reward_low below reward_high",
    ),
    _error(
        "nothing_to_reject",
        lambda at: (
            at.parts.reads("acceptance_threshold")
            and not at.parts.reward_low <= at.parts.acceptance_threshold < at.parts.reward_high
        ),
        "all rewards are on one side of acceptance_threshold={acceptance_threshold:g}: every episode is imitated, or none",
        "set acceptance_threshold between reward_low and reward_high",
    ),
    _error(
        "dynamic_sampling_of_one",
        lambda at: at.parts.dynamic_sampling > 0 and at.group_size == 1,
        "dynamic sampling replaces groups whose rewards agree, which those of a group of one always do",
        "set group_size to 2 or more, or dynamic_sampling=0",
    ),
    _error(
        "whitened_away",
        lambda at: (
            at.parts.whitening == "tokens"
            and at.group_size * at.groups_per_batch == 1
            and not at.advantages_differ_within_rows
        ),
        "whitening over a batch of one episode subtracts its only advantage from itself",
        "set whitening=none, or more groups_per_batch",
    ),
    _error(
        "weight_counted_twice",
        lambda at: at.parts.correction != "none" and at.parts.is_against_behavior,
        "the loss's ratio already starts from the policy that sampled; correction {correction} would weigh a token twice",
        "set correction=none, or proximal=recompute with a loss that starts from it",
    ),
    _error(
        "kl_twice",
        lambda at: at.parts.kl_in_loss > 0 and at.parts.kl_in_reward > 0,
        "the KL to the reference is in the loss ({kl_in_loss:g}) and in the reward ({kl_in_reward:g})",
        "set one of kl_in_loss and kl_in_reward to 0",
    ),
    _error(
        "k1_in_loss",
        lambda at: at.parts.kl_in_loss > 0 and at.parts.kl_estimator == "k1",
        "k1 in the loss has a gradient of mean zero: noise, and no pull to the reference",
        "set kl_estimator=k2 (the true gradient on-policy), or move it by kl_in_reward",
    ),
    _error(
        "overlong_without_length",
        lambda at: at.parts.overlong == "soft" and at.parts.overlong_length == 0,
        "overlong=soft has no length to measure by",
        "set overlong_length to the sampled tokens an episode may have",
    ),
    _error(
        "overlong_cache_outside_length",
        lambda at: (
            at.parts.overlong == "soft"
            and not 0 < at.parts.overlong_cache <= (at.parts.overlong_length or float("inf"))
        ),
        "the penalty of overlong=soft grows over overlong_cache={overlong_cache} tokens",
        "set overlong_cache between 1 and overlong_length",
    ),
    _error(
        "drgrpo_without_budget",
        lambda at: at.parts.aggregation == "drgrpo" and at.parts.generation_budget == 0,
        "aggregation=drgrpo divides by generation_budget, which is 0",
        "set generation_budget to the tokens an output may have",
    ),
    _error(
        "minibatch_without_group",
        lambda at: at.parts.minibatches > at.groups_per_batch,
        "groups_per_batch={groups_per_batch} whole groups cannot be dealt into {minibatches} minibatches",
        "set minibatches to at most groups_per_batch",
    ),
    _error(
        "dual_clip_of_one",
        lambda at: 0 < at.parts.dual_clip <= 1,
        "dual_clip={dual_clip:g} would cut the loss of unmoved tokens",
        "set dual_clip above 1 (the paper has 3), or to 0 for none",
    ),
    _error(
        "turns_without_group",
        lambda at: at.parts.turn_credit == "turn_discount" and at.parts.advantage != "reinforce",
        "turn_credit=turn_discount gives each turn its return and compares it with no group, as {advantage} would",
        "set advantage=reinforce (with whitening=tokens), or turn_credit=gigpo",
    ),
    _error(
        "gspo_of_varying_advantages",
        lambda at: at.parts.policy_loss == "gspo" and at.advantages_differ_within_rows,
        "policy_loss=gspo has one ratio and one advantage per row, and here advantages differ within rows",
        "set policy_loss=gspo_token",
    ),
    _warning(
        "groups_of_one",
        lambda at: at.group_size == 1 and at.parts.is_group_relative,
        "groups of one have nobody to be compared with but a running mean of earlier rewards",
        "set group_size to 4 or more, or advantage=reinforce with whitening=tokens",
    ),
    _warning(
        "states_of_one_episode",
        lambda at: at.group_size == 1 and at.parts.turn_credit == "gigpo",
        "turn_credit=gigpo compares turns within a group, and a group of one hardly sees a state twice",
        "set group_size to 4 or more",
    ),
    _warning(
        "scale_without_effect",
        lambda at: (
            at.parts.reward_scale not in {0, 1}
            and (
                at.parts.advantage in DIVIDES_BY_DEVIATION | {"max_rl"}
                or at.parts.whitening == "tokens"
            )
            and not at.cut_rewards
            and at.parts.overlong != "soft"
            and at.parts.kl_in_reward == 0
        ),
        "reward_scale={reward_scale:g} has no effect: advantages are divided by what it scales",
        "set reward_scale=1, or the learning rate instead",
    ),
    _warning(
        "divided_twice",
        lambda at: at.parts.whitening == "tokens" and at.parts.advantage in DIVIDES_BY_DEVIATION,
        "whitening divides by a deviation what {advantage} has divided by one already",
        "set advantage=dr_grpo, or whitening=none",
    ),
    _warning(
        "clip_set_without_effect",
        lambda at: (
            at.ratio_is_one
            and at.parts.policy_loss in CLIPPING
            and bool(at.overridden & {"clip_low", "clip_high"})
        ),
        "one step is taken per batch from a policy measured just before, so the ratio is 1 and no clip acts",
        "set minibatches=2 or more, proximal=behavior (and correction=none) to clip against the policy that sampled, or correction_high instead",
    ),
    Rule(
        "clip_without_effect",
        Severity.NOTE,
        lambda at: (
            at.ratio_is_one
            and at.parts.policy_loss != "score_function"
            and not at.overridden & {"clip_low", "clip_high"}
        ),
        "one step is taken per batch from a policy measured just before, so the ratio is 1 and {policy_loss} bounds nothing",
        "the correction's bounds are what holds stale tokens in check; with minibatches=2 or more the ratio moves",
    ),
    _warning(
        "clip_too_wide",
        lambda at: (
            (at.parts.policy_loss in CLIPPING and at.parts.clip_high > WIDEST_CLIP)
            or (at.parts.policy_loss == "cispo" and at.parts.ratio_max > 10 * WIDEST_CLIP)
        ),
        "the bound on the ratio is so wide that it never acts",
        "set clip_high to about 0.2, or CISPO's ratio_max to about 5",
    ),
    _warning(
        "gspo_with_token_bounds",
        lambda at: (
            at.parts.policy_loss in PER_SEQUENCE_LOSSES
            and max(at.parts.clip_low, at.parts.clip_high) > WIDEST_GSPO_CLIP
        ),
        "{policy_loss} with clip_low={clip_low:g}, clip_high={clip_high:g}: a mean over a whole row moves a thousand times less",
        "set clip_low=3e-4 and clip_high=4e-4, as in the paper",
    ),
    _warning(
        "tokens_with_gspo_bounds",
        lambda at: at.parts.policy_loss == "ppo_clip" and at.parts.clip_high < NARROWEST_TOKEN_CLIP,
        "clip_high={clip_high:g} stops nearly every token at once",
        "set clip_low and clip_high to about 0.2",
    ),
    _warning(
        "geometric_with_token_bounds",
        lambda at: (
            at.parts.correction == "geo_mask" and at.parts.correction_high > WIDEST_GEOMETRIC_BOUND
        ),
        "geo_mask with correction_high={correction_high:g}: the mean over a row never gets there",
        "set correction_low=0.999 and correction_high=1.002",
    ),
    _warning(
        "stale_tokens_uncorrected",
        lambda at: (
            at.max_staleness > 0
            and at.parts.correction == "none"
            and at.parts.advantage not in IMITATING
            and (
                at.parts.policy_loss == "score_function"
                or (
                    at.parts.proximal != "behavior" and at.parts.policy_loss not in AGAINST_BEHAVIOR
                )
            )
        ),
        "tokens of policies up to max_staleness versions old are taken for the present policy's own",
        "set proximal=recompute and correction=tis or icepop, or max_staleness=0",
    ),
    _warning(
        "epochs_without_bound",
        lambda at: (
            at.parts.epochs > 1
            and at.parts.policy_loss == "score_function"
            and at.parts.advantage not in IMITATING
        ),
        "policy_loss=score_function takes every token for the present policy's own; over {epochs} epochs nothing bounds its drift",
        "set policy_loss=ppo_clip, or epochs=1",
    ),
    _warning(
        "nothing_to_interpolate",
        lambda at: at.parts.proximal == "log_linear" and at.max_staleness == 0,
        "proximal=log_linear without staleness is the policy that sampled",
        "set proximal=behavior and correction=none",
    ),
    _warning(
        "max_rl_below_zero",
        lambda at: (
            at.parts.advantage == "max_rl"
            and (at.parts.reward_low < 0 or at.parts.overlong == "soft")
        ),
        "max_rl divides by the group's mean, which turns its sign where rewards are negative",
        "set reward_low=0 and overlong other than soft",
    ),
    _warning(
        "set_but_unread",
        lambda at: bool(at.unread),
        "nothing in this composition reads {unread}",
        "unset it, or make the choice that reads it (`turngate trainer explain`)",
    ),
)
