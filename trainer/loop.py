"""The training loop: asynchronous, one policy per batch, whatever the algorithm is composed of.

A batch whose rewards teach nothing changes no weight and publishes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rollout.episode.episode_status import DiscardReason
from rollout.episode.group import Claim
from rollout.policies import Policy
from trainer.batch.batch import Batch, prepare
from trainer.feed.feed import Feed
from trainer.learner.learner import FrozenPolicy, Learner
from trainer.objective.measure import measure
from trainer.objective.objective import Objective
from trainer.objective.steps import Steps, take_steps
from trainer.publish.checkpoints import Checkpoints, Progress
from trainer.publish.publisher import Publisher
from trainer.publish.training_records import TrainingRecords
from trainer.telemetry.metric_writers import MetricWriter
from trainer.telemetry.report import Report
from trainer.telemetry.step_trace import StepTrace


@dataclass(frozen=True, slots=True)
class Trainer:
    """Everything one batch passes through, in that order."""

    feed: Feed
    learner: Learner
    objective: Objective
    reference: FrozenPolicy | None  # where the algorithm has a KL term
    publisher: Publisher
    checkpoints: Checkpoints
    report: Report
    records: TrainingRecords | None  # rank 0's
    writers: Sequence[MetricWriter]  # rank 0's
    trace: StepTrace
    token_budget: int

    def train(self, progress: Progress) -> Progress:
        """Train until the feed ends; returns what a checkpoint must remember."""
        for claims in self.feed:
            if self.checkpoints.is_written:
                self.settle()
            if self.publisher.is_best(progress.version):
                self.keep_best(progress)
            batch = self.prepare(claims, progress)
            if not batch.has_signal:
                self.feed.discard(claims, DiscardReason.NO_SIGNAL)
                progress = replace(progress, baseline=batch.baseline)
                continue
            before = self.learner.steps
            with self.trace.of(before + 1):
                batch = self.measure(batch)
                steps = self.step(batch)
            progress = self.conclude(claims, batch, steps, progress)
            if self.checkpoints.is_due(self.learner.steps, before=before):
                self.keep(progress)
        self.settle()
        return progress

    def prepare(self, claims: Sequence[Claim], progress: Progress) -> Batch:
        """Advantages, sequences, microbatches."""
        with self.report.phase("prepare"):
            batch = prepare(
                claims,
                parts=self.objective.parts,
                baseline=progress.baseline,
                training_version=progress.version,
                token_budget=self.token_budget,
                ranks=self.learner.data_parallel,
                min_saving=self.learner.min_tree_saving,
            )
        self.report.prepared(batch, flagged_tokens=self.objective.flagged_tokens)
        return batch

    def measure(self, batch: Batch) -> Batch:
        """What this policy, before it moves, and the reference say about the batch."""
        with self.report.phase("logprobs"):
            return measure(batch, self.learner, self.objective.parts, reference=self.reference)

    def step(self, batch: Batch) -> Steps:
        """The optimizer steps of a measured batch."""
        with self.report.phase("step"):
            steps = take_steps(batch, self.learner, self.objective)
        for skipped in steps.skipped:
            self.report.skipped(skipped)
        return steps

    def conclude(
        self, claims: Sequence[Claim], batch: Batch, steps: Steps, progress: Progress
    ) -> Progress:
        """A policy of what was trained; what was not goes back, and with it rewards that the baseline would see twice."""
        trained, untrained = steps.parted(claims)
        if trained:
            policy = self.publish(trained, batch, progress)
            baseline = batch.prior if untrained else batch.baseline
            progress = Progress(version=policy.version, baseline=baseline)
            self.tell(batch, steps, policy)
        self.feed.refuse(untrained)
        return progress

    def publish(self, claims: Sequence[Claim], batch: Batch, progress: Progress) -> Policy:
        """Write, record together with what it was trained on, serve."""
        with self.report.phase("publish"):
            policy = self.publisher.write(self.learner, parent=progress.version)
            self.feed.ack(claims, policy, credit=batch.credit)
        with self.report.phase("swap"):
            self.publisher.swap()
        return policy

    def tell(self, batch: Batch, steps: Steps, policy: Policy) -> None:
        """Metrics, a log line, the ledger."""
        summary = self.report.stepped(batch, steps, step=self.learner.steps, version=policy.version)
        if self.records is not None:
            self.records.step(self.learner.steps, policy, summary)
        for writer in self.writers:
            self.write(writer, summary | {"version": policy.version})

    def write(self, writer: MetricWriter, values: dict[str, float]) -> None:
        """A full disk costs a chart, not the training."""
        try:
            writer.write(self.learner.steps, values)
        except OSError as error:
            self.report.alert("writer", error=str(error))

    def keep(self, progress: Progress) -> None:
        """A checkpoint, written while training goes on; the one before comes first."""
        self.settle()
        with self.report.phase("checkpoint"):
            self.checkpoints.begin(self.learner, progress)

    def keep_best(self, progress: Progress) -> None:
        """The same of a policy that was evaluated while the trainer waited, unless there is one: its weights are kept
        anyhow, but training goes on from it only with the optimizer's state. One in the making is waited for: it may fail, and
        ranks would not know it at the same time.
        """
        self.settle()
        steps = self.learner.steps
        if steps and not self.checkpoints.has(steps):
            self.keep(progress)

    def settle(self) -> None:
        """Wait for the checkpoint in the making; what it has seen need not be kept for another try. A full disk is tried
        again at the next one.
        """
        if not self.checkpoints.is_begun:
            return
        try:
            with self.report.phase("checkpoint"):
                kept = self.checkpoints.finish()
            self.feed.checkpointed(kept.version)
            if self.learner.is_primary:
                self.checkpoints.prune(self.learner, pinned=self.publisher.pinned())
        except OSError as error:
            self.report.alert("checkpoint", error=str(error))
