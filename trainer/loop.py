"""The training loop: GRPO with decoupled PPO, asynchronous, one optimizer step per batch.

Departs from 2402.03300 in what `algorithms.md` calls the asynchronous default: token mean over the whole batch, no KL term, an importance
weight for tokens of older policies. A batch whose rewards teach nothing changes no weight and publishes nothing.
"""

from dataclasses import replace

from rollout.episode import DiscardReason
from trainer.batch import prepare
from trainer.checkpoints import Checkpoints, Progress
from trainer.feed import Feed
from trainer.megatron.learner import Learner
from trainer.objective import Objective
from trainer.publish import Publisher
from trainer.report import Report, summarize


def train(
    learner: Learner,
    feed: Feed,
    publisher: Publisher,
    *,
    objective: Objective,
    checkpoints: Checkpoints,
    report: Report,
    progress: Progress,
    token_budget: int,
    ranks: int,
) -> Progress:
    """Train until the feed ends; returns what a checkpoint must remember."""
    for claims in feed:
        with report.phase("prepare"):
            batch = prepare(
                claims,
                baseline=progress.baseline,
                training_version=progress.version,
                token_budget=token_budget,
                ranks=ranks,
            )
        report.claimed(batch)
        progress = replace(progress, baseline=batch.baseline)
        if not batch.has_signal:
            feed.discard(claims, DiscardReason.NO_SIGNAL)
            continue
        with report.phase("logprobs"):
            batch = batch.with_proximal_logprobs(learner.logprobs(batch.train))
        with report.phase("step"):
            metrics = learner.step(batch.train, objective)
        if metrics.skipped:
            report.alert("not_finite", loss=metrics.loss, gradient_norm=metrics.gradient_norm)
            feed.refuse(claims)
            continue
        with report.phase("publish"):
            policy = publisher.write(learner, parent=progress.version)
            feed.ack(claims, policy)
        progress = replace(progress, version=policy.version)
        with report.phase("swap"):
            publisher.swap()
        report.stepped(summarize(batch, metrics), step=learner.steps, version=policy.version)
        with report.phase("checkpoint"):
            if checkpoints.save_if_due(learner, progress):
                feed.checkpointed(policy)
    return progress
