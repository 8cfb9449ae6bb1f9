"""What the settings say of the learner: its optimizers, its layout over ranks and its adapter."""

from dataclasses import replace

from trainer.learner.layout import Layout
from trainer.learner.lora import Lora
from trainer.learner.optimizer import OptimizerSettings
from trainer.settings import Settings


def optimizer(settings: Settings) -> OptimizerSettings:
    return OptimizerSettings(
        learning_rate=settings.learning_rate,
        beta1=settings.beta1,
        beta2=settings.beta2,
        epsilon=settings.epsilon,
        weight_decay=settings.weight_decay,
        clip_gradient_norm=settings.clip_gradient_norm,
        schedule=settings.schedule,
        warmup_steps=settings.warmup_steps,
        decay_steps=settings.decay_steps or None,
        minimum_ratio=settings.minimum_learning_rate_ratio,
    )


def critic(settings: Settings) -> OptimizerSettings | None:
    """As the policy's, with a learning rate of its own; None if the algorithm has no critic."""
    if not settings.parts.needs_critic:
        return None
    return replace(optimizer(settings), learning_rate=settings.critic_learning_rate)


def layout(settings: Settings) -> Layout:
    return Layout(
        tensor_parallel=settings.tensor_parallel,
        pipeline_parallel=settings.pipeline_parallel,
        expert_parallel=settings.expert_parallel,
        context_parallel=settings.context_parallel,
        sequence_parallel=settings.sequence_parallel,
    )


def lora(settings: Settings) -> Lora | None:
    if settings.lora_rank == 0:
        return None
    return Lora(
        rank=settings.lora_rank,
        alpha=settings.lora_alpha,
        target_modules=settings.lora_target_modules,
        dropout=settings.lora_dropout,
    )
