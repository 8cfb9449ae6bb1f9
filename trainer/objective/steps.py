"""The optimizer steps of a batch: one for each minibatch and epoch, all from logprobs measured before the first step.

A step whose loss or gradient is not finite moves no weight, and its groups are not trained if no other step had them. The critic steps
before the policy: if its step is skipped, so is the policy's. If only the policy's is skipped, the critic trains these tokens twice,
which does no harm.

During the warm-up only the critic moves. The batch still counts as trained and a policy is published, with unchanged weights, so that
each batch is acknowledged under a version of its own.
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
    """The steps of one batch, in their order."""

    policy: tuple[Step, ...]  # none while the critic warms up
    critic: tuple[Step, ...] = ()

    @property
    def moved(self) -> list[StepMetrics]:
        """Steps that moved the policy."""
        return _moved(self.policy)

    @property
    def critic_moved(self) -> list[StepMetrics]:
        return _moved(self.critic)

    @property
    def skipped(self) -> list[StepMetrics]:
        return [metrics for _, metrics in (*self.critic, *self.policy) if metrics.skipped]

    def parted(self, claims: Sequence[Claim]) -> tuple[list[Claim], list[Claim]]:
        """(trained, untrained) claims: untrained are those with only skipped steps, or all if no weight has moved."""
        tried = {minibatch.groups for minibatch, _ in (*self.critic, *self.policy)}
        trained = {minibatch.groups for minibatch in self._trained}
        lost = frozenset().union(*(tried - trained)) if trained else range(len(claims))
        return (
            [claim for group, claim in enumerate(claims) if group not in lost],
            [claim for group, claim in enumerate(claims) if group in lost],
        )

    @property
    def sums(self) -> Mapping[str, float]:
        """Sums of the policy's loss function over the steps that moved it."""
        return _summed(self.moved)

    @property
    def critic_sums(self) -> Mapping[str, float]:
        return _summed(self.critic_moved)

    @property
    def maxima(self) -> Mapping[str, float]:
        """Its largest values over the same steps."""
        names = {name for metrics in self.moved for name in metrics.maxima}
        return {name: max(m.maxima[name] for m in self.moved) for name in names}

    def num_tokens_of(self, batch: Batch) -> int:
        """Trained tokens, counted once per step."""
        return sum(minibatch.of(batch.train).num_tokens for minibatch in self._trained)

    @property
    def _trained(self) -> list[Minibatch]:
        """The minibatches of the policy's steps, or of the critic's during its warm-up."""
        return [minibatch for minibatch, step in self.policy or self.critic if not step.skipped]


def _moved(steps: Sequence[Step]) -> list[StepMetrics]:
    return [metrics for _, metrics in steps if not metrics.skipped]


def _summed(steps: Sequence[StepMetrics]) -> dict[str, float]:
    names = {name for metrics in steps for name in metrics.sums}
    return {name: sum(metrics.sums[name] for metrics in steps) for name in names}


def take_steps(batch: Batch, learner: Learner, objective: Objective) -> Steps:
    """The optimizer steps of a measured batch; every rank calls it and gets the same."""
    parts = objective.parts
    by_policy: list[Step] = []
    by_critic: list[Step] = []
    is_warm = not parts.needs_critic or learner.steps >= parts.critic_warmup * parts.steps_per_batch
    for minibatch in parts.epochs * batch.minibatches:
        train = minibatch.of(batch.train)
        if not train.microbatches:
            continue
        if parts.needs_critic:
            by_critic.append((minibatch, learner.step_critic(train, ValueObjective(parts))))
        if is_warm and not (by_critic and by_critic[-1][1].skipped):
            has_moved = bool(_moved(by_policy))
            train = masked(train, learner if has_moved else None, parts)
            by_policy.append((minibatch, learner.step(train, objective)))
    return Steps(tuple(by_policy), tuple(by_critic))
