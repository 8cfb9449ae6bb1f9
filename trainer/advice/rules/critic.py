"""The rules about the critic."""

from trainer.advice.rules.rule import error, warning

CRITIC_RULES = (
    error(
        "credit_beside_critic",
        lambda at: at.parts.advantage == "gae" and at.parts.turn_credit == "gigpo",
        "advantage=gae gives every token the credit of its own state, and turn_credit=gigpo would add a second one",
        "set turn_credit=episode, or advantage=grpo",
    ),
    warning(
        "untrained_values",
        lambda at: (
            at.parts.needs_critic
            and (at.parts.lambda_policy < 1 or at.parts.lambda_alpha > 0)
            and at.parts.critic_warmup == 0
        ),
        "with lambda below 1 advantages depend on the critic, which is untrained at the first batch",
        "set critic_warmup to 10 or more, or lambda_policy=1 and lambda_alpha=0",
    ),
    warning(
        "value_clip_set_without_effect",
        lambda at: (
            at.parts.needs_critic
            and at.parts.steps_per_batch == 1
            and "value_clip" in at.overridden
            and at.parts.value_clip > 0
        ),
        "each batch has one step, from values measured just before it, so no value has moved and value_clip={value_clip:g} never acts",
        "set minibatches or epochs to 2 or more, or do not set value_clip",
    ),
)
