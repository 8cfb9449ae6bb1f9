"""The rules about ratios between policies: clips, corrections, the proximal policy, the KL to a reference."""

from trainer.advice.rules.rule import error, note, warning

WIDEST_CLIP = 3.0  # a clip must act before the ratio is 4
WIDEST_GSPO_CLIP = 0.05  # a mean log-ratio of this size is a ratio of e^50 over a thousand tokens
NARROWEST_TOKEN_CLIP = 0.01
WIDEST_GEOMETRIC_BOUND = 1.5

RATIO_RULES = (
    error(
        "weight_counted_twice",
        lambda at: at.parts.correction != "none" and at.parts.is_against_behavior,
        "the loss's ratio already starts from the policy that sampled; correction {correction} would weight a token twice",
        "set correction=none, or proximal=recompute with a loss that starts from it",
    ),
    error(
        "kl_twice",
        lambda at: at.parts.kl_in_loss > 0 and at.parts.kl_in_reward > 0,
        "the KL to the reference is in the loss ({kl_in_loss:g}) and in the reward ({kl_in_reward:g})",
        "set one of kl_in_loss and kl_in_reward to 0",
    ),
    error(
        "k1_in_loss",
        lambda at: at.parts.kl_in_loss > 0 and at.parts.kl_estimator == "k1",
        "k1 in the loss has a gradient of mean zero: noise that does not move the policy towards the reference",
        "set kl_estimator=k2 (the true gradient on-policy), or move it by kl_in_reward",
    ),
    error(
        "own_tokens_rejected",
        lambda at: (
            at.parts.correction != "none" and not at.lowest_weight <= 1 <= at.parts.correction_high
        ),
        "tokens of the current policy have the weight 1, outside the bounds of {correction}: {correction_low:g} to {correction_high:g}",
        "set correction_low below 1 and correction_high above it",
    ),
    error(
        "dual_clip_of_one",
        lambda at: 0 < at.parts.dual_clip <= 1,
        "dual_clip={dual_clip:g} would bound the loss of tokens whose ratio is 1",
        "set dual_clip above 1 (the paper has 3), or to 0 for none",
    ),
    error(
        "gspo_of_varying_advantages",
        lambda at: at.parts.policy_loss == "gspo" and at.advantages_differ_within_rows,
        "policy_loss=gspo has one ratio and one advantage per row, and here advantages differ within rows",
        "set policy_loss=gspo_token",
    ),
    warning(
        "clip_set_without_effect",
        lambda at: at.ratio_is_one and at.clips and bool(at.overridden & {"clip_low", "clip_high"}),
        "each batch has one step, from a policy measured just before it, so the ratio is 1 and no clip acts",
        "set minibatches=2 or more, proximal=behavior (and correction=none) to clip against the policy that sampled, or correction_high instead",
    ),
    note(
        "clip_without_effect",
        lambda at: (
            at.ratio_is_one and at.has_ratio and not at.overridden & {"clip_low", "clip_high"}
        ),
        "each batch has one step, from a policy measured just before it, so the ratio is 1 and {policy_loss} bounds nothing",
        "the bounds of the correction limit stale tokens; with minibatches=2 or more the ratio moves",
    ),
    warning(
        "clip_too_wide",
        lambda at: (at.clips and at.parts.clip_high > WIDEST_CLIP) or at.never_bounds,
        "the bound of {policy_loss} is so wide that it never acts",
        "set clip_high to about 0.2, ratio_max to about 5, dppo_delta to 0.2, m2po_threshold to 0.04",
    ),
    warning(
        "cispo_below_one",
        lambda at: at.parts.policy_loss == "cispo" and at.value("ratio_max") < 1,
        "ratio_max={ratio_max:g} bounds every token of the current policy, whose ratio is 1",
        "set ratio_max to about 5, as the bound of the ratio and not its distance from 1",
    ),
    warning(
        "gspo_with_token_bounds",
        lambda at: (
            at.parts.loss_entry.is_per_row
            and max(at.parts.clip_low, at.parts.clip_high) > WIDEST_GSPO_CLIP
        ),
        "{policy_loss} with clip_low={clip_low:g}, clip_high={clip_high:g}: the mean over a whole row changes a thousand times less",
        "set clip_low=3e-4 and clip_high=4e-4, as in the paper",
    ),
    warning(
        "tokens_with_gspo_bounds",
        lambda at: at.parts.policy_loss == "ppo_clip" and at.parts.clip_high < NARROWEST_TOKEN_CLIP,
        "clip_high={clip_high:g} clips nearly every token",
        "set clip_low and clip_high to about 0.2",
    ),
    warning(
        "geometric_with_token_bounds",
        lambda at: (
            at.parts.correction == "geo_mask" and at.parts.correction_high > WIDEST_GEOMETRIC_BOUND
        ),
        "geo_mask with correction_high={correction_high:g}: the mean over a row never reaches it",
        "set correction_low=0.999 and correction_high=1.002",
    ),
    warning(
        "stale_tokens_uncorrected",
        lambda at: (
            at.max_staleness > 0
            and at.parts.correction == "none"
            and not at.parts.advantage_entry.imitates
            and (not at.has_ratio or not at.parts.is_against_behavior)
        ),
        "tokens of policies up to max_staleness versions old train as if the current policy had sampled them",
        "set proximal=recompute and correction=tis or icepop, or max_staleness=0",
    ),
    warning(
        "epochs_without_bound",
        lambda at: (
            at.parts.epochs > 1 and not at.has_ratio and not at.parts.advantage_entry.imitates
        ),
        "policy_loss=score_function has no ratio; over {epochs} epochs nothing bounds how far the policy moves",
        "set policy_loss=ppo_clip, or epochs=1",
    ),
    warning(
        "proximal_unread",
        lambda at: at.parts.proximal != "behavior" and not at.reads_proximal,
        "the ratio of {policy_loss} starts from the policy that sampled; nothing reads proximal={proximal}",
        "set proximal=behavior",
    ),
    warning(
        "nothing_to_interpolate",
        lambda at: at.parts.proximal == "log_linear" and at.max_staleness == 0,
        "proximal=log_linear without staleness is the policy that sampled",
        "set proximal=behavior and correction=none",
    ),
)
