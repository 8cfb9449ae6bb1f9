"""The training loop: asynchronous, one policy per batch, for every algorithm and every learner.

A batch without a signal changes no weight and publishes nothing.
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
    """Everything that a batch passes through, in this order."""

    feed: Feed
    learner: Learner
    objective: Objective
    reference: FrozenPolicy | None  # if the algorithm has a KL term
    publisher: Publisher
    checkpoints: Checkpoints
    report: Report
    records: TrainingRecords | None  # rank 0's
    writers: Sequence[MetricWriter]  # rank 0's
    trace: StepTrace
    token_budget: int

    def train(self, progress: Progress) -> Progress:
        """Train until the feed ends; returns the progress that a checkpoint stores."""
        for claims in self.feed:
            if self.checkpoints.is_written:
                self.finish_checkpoint()
            if self.publisher.is_best(progress.version):
                self.checkpoint_best(progress)
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
                self.begin_checkpoint(progress)
        self.finish_checkpoint()
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
        """Logprobs and values of the batch under the policy before its first step, the reference and the critic."""
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
        """Publish a policy if groups were trained, and release the others. The baseline then stays as it was: it would count rewards of
        released groups twice.
        """
        trained, untrained = steps.parted(claims)
        if trained:
            policy = self.publish(trained, batch, progress)
            baseline = batch.prior if untrained else batch.baseline
            progress = Progress(version=policy.version, baseline=baseline)
            self.record_step(batch, steps, policy)
        self.feed.refuse(untrained)
        return progress

    def publish(self, claims: Sequence[Claim], batch: Batch, progress: Progress) -> Policy:
        """Write the policy, record it together with the episodes it was trained on, and serve it."""
        with self.report.phase("publish"):
            policy = self.publisher.write(self.learner, parent=progress.version)
            self.feed.ack(claims, policy, step=self.learner.steps, credit=batch.credit)
        with self.report.phase("swap"):
            self.publisher.swap()
        return policy

    def record_step(self, batch: Batch, steps: Steps, policy: Policy) -> None:
        """Metrics, a log line, the ledger."""
        summary = self.report.stepped(batch, steps, step=self.learner.steps, version=policy.version)
        if self.records is not None:
            self.records.step(self.learner.steps, policy, summary)
        for writer in self.writers:
            self.write(writer, summary | {"version": policy.version})

    def write(self, writer: MetricWriter, values: dict[str, float]) -> None:
        """Training continues if a writer fails, for example on a full disk."""
        try:
            writer.write(self.learner.steps, values)
        except OSError as error:
            self.report.alert("writer", error=str(error))

    def begin_checkpoint(self, progress: Progress) -> None:
        """Start to write a checkpoint in the background, after the previous one is finished."""
        self.finish_checkpoint()
        with self.report.phase("checkpoint"):
            self.checkpoints.begin(self.learner, progress)

    def checkpoint_best(self, progress: Progress) -> None:
        """Write a checkpoint of the current policy, which evaluation found among the best, unless there is one.

        Its weights are kept in any case, but training can resume from it only with the optimizer's state. An unfinished checkpoint
        is waited for, because it may fail and the ranks must decide alike.
        """
        self.finish_checkpoint()
        steps = self.learner.steps
        if steps and not self.checkpoints.has(steps):
            self.begin_checkpoint(progress)

    def finish_checkpoint(self) -> None:
        """Wait for the checkpoint that was begun, if any. The store may then forget the groups that it has trained. If the disk is
        full, the next checkpoint is the next attempt.
        """
        if not self.checkpoints.is_begun:
            return
        try:
            with self.report.phase("checkpoint"):
                finished = self.checkpoints.finish()
            self.feed.checkpointed(finished.version)
            if self.learner.is_primary:
                self.checkpoints.prune(self.learner, pinned=self.publisher.pinned())
        except OSError as error:
            self.report.alert("checkpoint", error=str(error))
