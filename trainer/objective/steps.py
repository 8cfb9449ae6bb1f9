"""The optimizer steps of a batch: one for each minibatch, epoch after epoch, all from what was measured before the first.

A step whose loss or gradient is not finite moves no weight; what no step trained was not trained. A critic, where there is one, goes before
the policy: if its step fails the policy's is not tried, and if the policy's fails it will see those tokens once more, which is no harm.

While the critic warms up it moves alone, and the batch counts as trained all the same: its policy is published, with the weights of the one
before, so that each batch is acknowledged under a version of its own whatever learned from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rollout.episode.group import Claim
from trainer.batch.batch import Batch
from trainer.batch.minibatches import Minibatch
from trainer.learner.learner import Learner
from trainer.learner.optimizer_step import StepMetrics
from trainer.objective.measure import masked
from trainer.objective.objective import Objective
from trainer.objective.value_objective import ValueObjective

Step = tuple[Minibatch, StepMetrics]


@dataclass(frozen=True, slots=True)
class Steps:
    """What came of them, in their order."""

    taken: tuple[Step, ...]  # of the policy; none while the critic warms up
    critic: tuple[Step, ...] = ()

    @property
    def moved(self) -> list[StepMetrics]:
        """Those that moved the policy."""
        return _moved(self.taken)

    @property
    def critic_moved(self) -> list[StepMetrics]:
        return _moved(self.critic)

    @property
    def skipped(self) -> list[StepMetrics]:
        return [metrics for _, metrics in (*self.critic, *self.taken) if metrics.skipped]

    def parted(self, claims: Sequence[Claim]) -> tuple[list[Claim], list[Claim]]:
        """The batch's claims: those trained, and those whose every step was skipped; all of these if no weight has moved."""
        tried = {minibatch.groups for minibatch, _ in (*self.critic, *self.taken)}
        trained = {minibatch.groups for minibatch in self._trained}
        lost = frozenset().union(*(tried - trained)) if trained else range(len(claims))
        return (
            [claim for group, claim in enumerate(claims) if group not in lost],
            [claim for group, claim in enumerate(claims) if group in lost],
        )

    @property
    def sums(self) -> Mapping[str, float]:
        """The policy's loss function's, over the steps that moved it."""
        return _summed(self.moved)

    @property
    def critic_sums(self) -> Mapping[str, float]:
        return _summed(self.critic_moved)

    @property
    def maxima(self) -> Mapping[str, float]:
        """The same of its largest values."""
        names = {name for metrics in self.moved for name in metrics.maxima}
        return {name: max(m.maxima[name] for m in self.moved) for name in names}

    def num_tokens_of(self, batch: Batch) -> int:
        """Tokens that trained, once for each time they did."""
        return sum(minibatch.of(batch.train).num_tokens for minibatch in self._trained)

    @property
    def _trained(self) -> list[Minibatch]:
        """Of the steps that count: the policy's, or the critic's where it moves alone."""
        return [minibatch for minibatch, step in self.taken or self.critic if not step.skipped]


def _moved(steps: Sequence[Step]) -> list[StepMetrics]:
    return [metrics for _, metrics in steps if not metrics.skipped]


def _summed(steps: Sequence[StepMetrics]) -> dict[str, float]:
    names = {name for metrics in steps for name in metrics.sums}
    return {name: sum(metrics.sums[name] for metrics in steps) for name in names}


def take_steps(batch: Batch, learner: Learner, objective: Objective) -> Steps:
    """Down the loss of a measured batch; every rank calls it and gets the same."""
    parts = objective.parts
    taken: list[Step] = []
    by_critic: list[Step] = []
    is_warm = not parts.needs_critic or learner.steps >= parts.critic_warmup * parts.steps_per_batch
    for minibatch in parts.epochs * batch.minibatches:
        train = minibatch.of(batch.train)
        if not train.microbatches:
            continue
        if parts.needs_critic:
            by_critic.append((minibatch, learner.step_critic(train, ValueObjective(parts))))
        if is_warm and not (by_critic and by_critic[-1][1].skipped):
            has_moved = bool(_moved(taken))
            train = masked(train, learner if has_moved else None, parts)
            taken.append((minibatch, learner.step(train, objective)))
    return Steps(tuple(taken), tuple(by_critic))
