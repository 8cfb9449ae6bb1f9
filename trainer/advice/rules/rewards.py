"""The rules about rewards, advantages and what is averaged."""

from trainer.advice.rules.rule import error, warning

REWARD_RULES = (
    error(
        "equal_rewards",
        lambda at: at.parts.reward_scale == 0 or at.parts.reward_low >= at.parts.reward_high,
        "after reward_scale and the bounds all rewards are equal, so every advantage is 0",
        "set reward_scale other than 0 and reward_low below reward_high",
    ),
    error(
        "nothing_to_reject",
        lambda at: (
            at.parts.reads("acceptance_threshold")
            and not at.parts.reward_low <= at.value("acceptance_threshold") < at.parts.reward_high
        ),
        "all rewards are on one side of acceptance_threshold={acceptance_threshold:g}: every episode trains, or none",
        "set acceptance_threshold between reward_low and reward_high",
    ),
    error(
        "dynamic_sampling_of_one",
        lambda at: at.parts.dynamic_sampling > 0 and at.group_size == 1,
        "dynamic sampling replaces groups of equal rewards, which a group of one always is",
        "set group_size to 2 or more, or dynamic_sampling=0",
    ),
    error(
        "whitened_away",
        lambda at: (
            at.parts.whitening == "tokens"
            and at.group_size * at.groups_per_batch == 1
            and not at.advantages_differ_within_rows
        ),
        "whitening over a batch of one episode subtracts its only advantage from itself",
        "set whitening=none, or more groups_per_batch",
    ),
    error(
        "overlong_without_length",
        lambda at: at.parts.overlong == "soft" and at.parts.overlong_length == 0,
        "overlong=soft needs a length",
        "set overlong_length to the sampled tokens an episode may have",
    ),
    error(
        "overlong_cache_outside_length",
        lambda at: (
            at.parts.overlong == "soft"
            and not 0 < at.parts.overlong_cache <= (at.parts.overlong_length or float("inf"))
        ),
        "the penalty of overlong=soft grows over overlong_cache={overlong_cache} tokens",
        "set overlong_cache between 1 and overlong_length",
    ),
    error(
        "drgrpo_without_budget",
        lambda at: at.parts.aggregation == "drgrpo" and at.value("generation_budget") == 0,
        "aggregation=drgrpo divides by generation_budget, which is 0",
        "set generation_budget to the tokens an output may have",
    ),
    error(
        "minibatch_without_group",
        lambda at: at.parts.minibatches > at.groups_per_batch,
        "groups_per_batch={groups_per_batch} whole groups cannot be divided into {minibatches} minibatches",
        "set minibatches to at most groups_per_batch",
    ),
    error(
        "turns_without_group",
        lambda at: at.parts.turn_credit == "turn_discount" and at.parts.advantage != "reinforce",
        "turn_credit=turn_discount gives each turn its return and compares with no group, which {advantage} would do",
        "set advantage=reinforce (with whitening=tokens), or turn_credit=gigpo",
    ),
    warning(
        "groups_of_one",
        lambda at: at.group_size == 1 and at.parts.is_group_relative,
        "groups of one are compared only with a running mean of earlier rewards",
        "set group_size to 4 or more, or advantage=reinforce with whitening=tokens",
    ),
    warning(
        "states_of_one_episode",
        lambda at: at.group_size == 1 and at.parts.turn_credit == "gigpo",
        "turn_credit=gigpo compares turns within a group, and a group of one rarely has a state twice",
        "set group_size to 4 or more",
    ),
    warning(
        "scale_without_effect",
        lambda at: (
            at.parts.reward_scale > 0
            and at.parts.reward_scale != 1
            and (
                at.parts.advantage_entry.divides_by_deviation
                or at.parts.advantage == "max_rl"
                or at.parts.whitening == "tokens"
            )
            and not at.parts.needs_critic
            and not at.cut_rewards
            and at.parts.overlong != "soft"
            and at.parts.kl_in_reward == 0
        ),
        "reward_scale={reward_scale:g} has no effect: advantages are divided by a number that it scales too",
        "set reward_scale=1, or the learning rate instead",
    ),
    warning(
        "divided_twice",
        lambda at: at.parts.whitening == "tokens" and at.parts.advantage_entry.divides_by_deviation,
        "whitening divides by a deviation, and {advantage} has already divided by one",
        "set advantage=dr_grpo, or whitening=none",
    ),
    warning(
        "max_rl_below_zero",
        lambda at: (
            at.parts.advantage == "max_rl"
            and (
                at.parts.reward_low < 0 or at.parts.overlong == "soft" or at.parts.kl_in_reward > 0
            )
        ),
        "max_rl divides by the mean of the group, so negative rewards change the sign of advantages",
        "set reward_low=0, kl_in_reward=0 and overlong other than soft",
    ),
    warning(
        "dynamic_sampling_of_none",
        lambda at: at.parts.dynamic_sampling > 0 and at.num_replaceable == 0,
        "dynamic_sampling={dynamic_sampling:g} of groups_per_batch={groups_per_batch} rounds to no group",
        "set dynamic_sampling to 1 or more, or to 0",
    ),
    warning(
        "dynamic_sampling_of_what_teaches",
        lambda at: at.parts.dynamic_sampling > 0 and not at.parts.is_group_relative,
        "dynamic sampling replaces groups of equal rewards, but advantage={advantage} learns from them",
        "set dynamic_sampling=0, or an advantage that compares within groups",
    ),
    warning(
        "priority_without_choice",
        lambda at: at.batch_order == "priority" and at.buffer_groups <= at.groups_per_batch,
        "batch_order=priority has nothing to choose from: the buffer holds the groups_per_batch={groups_per_batch} of one batch",
        "set buffer_groups to twice groups_per_batch, or batch_order=oldest",
    ),
    warning(
        "imitation_whitened",
        lambda at: at.parts.whitening == "tokens" and at.imitates,
        "{advantage} gives 1 or 0, and whitening makes 0 negative, so episodes that should not train are unlearned",
        "set whitening=none, or advantage=dr_grpo to learn from both",
    ),
    warning(
        "nothing_below_zero",
        lambda at: (
            at.imitates
            and at.parts.whitening == "none"
            and (
                at.parts.opsm_delta > 0 or (at.parts.dual_clip > 0 and at.parts.reads("dual_clip"))
            )
        ),
        "opsm_delta and dual_clip act where A < 0, and {advantage} is never negative",
        "set opsm_delta=0 and dual_clip=0",
    ),
    warning(
        "states_without_weight",
        lambda at: at.parts.turn_credit == "gigpo" and at.value("gigpo_weight") == 0,
        "gigpo_weight=0 removes the comparison of turn_credit=gigpo",
        "set gigpo_weight=1, or turn_credit=episode",
    ),
    warning(
        "entropy_punished",
        lambda at: at.parts.entropy_bonus < 0,
        "entropy_bonus={entropy_bonus:g} lowers the entropy of the policy",
        "set entropy_bonus above 0, or to 0 for none",
    ),
    warning(
        "reference_unread",
        lambda at: at.has_reference_dir and not at.parts.needs_reference,
        "reference_dir is set, and no KL term reads it",
        "set kl_in_loss or kl_in_reward above 0, or unset reference_dir",
    ),
    warning(
        "set_but_unread",
        lambda at: bool(at.unread),
        "nothing in this composition reads {unread}",
        "unset it, or make the choice that reads it (`turngate trainer explain`)",
    ),
)
