"""The optimizer steps of a batch: one for each minibatch, epoch after epoch, all from what was measured before the first.

A step whose loss or gradient is not finite moves no weight; what no step trained was not trained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rollout.group import Claim
from trainer.batch import Batch
from trainer.measure import judged
from trainer.megatron.learner import Learner
from trainer.megatron.network import StepMetrics
from trainer.minibatches import Minibatch
from trainer.objective import Objective


@dataclass(frozen=True, slots=True)
class Steps:
    """What came of them, in their order."""

    taken: tuple[tuple[Minibatch, StepMetrics], ...]

    @property
    def moved(self) -> list[StepMetrics]:
        """Those that moved the weights."""
        return [metrics for _, metrics in self.taken if not metrics.skipped]

    @property
    def skipped(self) -> list[StepMetrics]:
        return [metrics for _, metrics in self.taken if metrics.skipped]

    def parted(self, claims: Sequence[Claim]) -> tuple[list[Claim], list[Claim]]:
        """The batch's claims: those trained, and those whose every step was skipped; all of these if no weight has moved."""
        tried = {minibatch.groups for minibatch, _ in self.taken}
        trained = {minibatch.groups for minibatch, metrics in self.taken if not metrics.skipped}
        lost = frozenset().union(*(tried - trained)) if trained else range(len(claims))
        return (
            [claim for group, claim in enumerate(claims) if group not in lost],
            [claim for group, claim in enumerate(claims) if group in lost],
        )

    @property
    def sums(self) -> Mapping[str, float]:
        """The loss function's, over the steps that moved."""
        names = {name for metrics in self.moved for name in metrics.sums}
        return {name: sum(m.sums[name] for m in self.moved) for name in names}

    @property
    def maxima(self) -> Mapping[str, float]:
        """The same of its largest values."""
        names = {name for metrics in self.moved for name in metrics.maxima}
        return {name: max(m.maxima[name] for m in self.moved) for name in names}

    def num_tokens_of(self, batch: Batch) -> int:
        """Tokens that went through a step that moved, once for each time they did."""
        return sum(
            minibatch.of(batch.train).num_tokens
            for minibatch, metrics in self.taken
            if not metrics.skipped
        )


def take_steps(batch: Batch, learner: Learner, objective: Objective) -> Steps:
    """Down the loss of a measured batch; every rank calls it and gets the same."""
    taken: list[tuple[Minibatch, StepMetrics]] = []
    for _ in range(objective.parts.epochs):
        for minibatch in batch.minibatches:
            train = minibatch.of(batch.train)
            if train.microbatches:
                has_moved = any(not metrics.skipped for _, metrics in taken)
                train = judged(train, learner if has_moved else None, objective.parts)
                taken.append((minibatch, learner.step(train, objective)))
    return Steps(tuple(taken))
