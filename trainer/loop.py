"""The training loop: asynchronous, one policy per batch, for every algorithm and every learner.

A batch without a signal changes no weight and publishes nothing. A batch that cannot be trained, or that the store does not count,
is undone: learner and progress go back to the last checkpoint, and the loop goes on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from rollout.episode.episode_status import DiscardReason
from rollout.episode.group import Claim
from rollout.errors import ClaimLost, LineageLeft
from rollout.policies import Policy
from trainer.batch.batch import Batch, prepare
from trainer.batch.broken_groups import BrokenGroups, sound
from trainer.feed.feed import Feed
from trainer.learner.learner import FrozenPolicy, Learner
from trainer.objective.measure import measure
from trainer.objective.objective import Objective
from trainer.objective.steps import Steps, take_steps
from trainer.publish.checkpoints import Checkpoints, Progress
from trainer.publish.publisher import Publisher
from trainer.publish.training_records import TrainingRecords
from trainer.ranks import Ranks
from trainer.telemetry.metric_writers import MetricWriter
from trainer.telemetry.report import Report
from trainer.telemetry.step_trace import StepTrace

# A checkpoint that is written within this time is waited for before its policy is recorded: then a death costs no recorded policy.
# That of a large model is finished during the next batch, and a death before costs that one policy.
CHECKPOINT_SECONDS = 1.0
MOST_FAILURES = 3  # batches in a row that raise an error; the feed has discarded their groups, so one more is not their data
# What torch and numpy raise for data that they cannot compute.
STEP_ERRORS = (RuntimeError, ValueError, IndexError, KeyError, TypeError, AssertionError)


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
    ranks: Ranks
    resume: Callable[[], Progress]  # brings learner, store and engines back to the last checkpoint

    def train(self, progress: Progress) -> Progress:
        """Train until the feed ends; returns the progress that a checkpoint stores."""
        failures = 0
        for claims in self.feed:
            try:
                progress = self.train_batch(claims, progress)
                failures = 0
            except (ClaimLost, LineageLeft) as error:
                self.report.alert("claim_lost", error=str(error))
                progress = self.go_back()
            except STEP_ERRORS as error:
                failures += 1
                # The other ranks wait in the middle of the step: they can only be started again.
                if self.ranks.size > 1 or failures > MOST_FAILURES:
                    self.feed.leave(claims)
                    raise
                self.report.alert("step", error=repr(error))
                self.feed.refuse(claims)
                progress = self.go_back()
        self.finish_checkpoint()
        return progress

    def train_batch(self, claims: Sequence[Claim], progress: Progress) -> Progress:
        """One batch, from claims to a served policy."""
        if self.checkpoints.is_written:
            self.finish_checkpoint()
        if self.publisher.is_best(progress.version):
            self.ensure_checkpoint(progress)
        try:
            batch = self.prepare(claims, progress)
        except BrokenGroups as broken:
            self.report.alert("group", groups=broken.names, error=str(broken))
            self.feed.discard(broken.claims, DiscardReason.FAILED)
            self.feed.give_up(sound(claims, broken))
            return progress
        if not batch.has_signal:
            self.feed.discard(claims, DiscardReason.NO_SIGNAL)
            return replace(progress, baseline=batch.baseline)
        before = self.learner.steps
        with self.trace.of(before + 1):
            batch = self.measure(batch)
            steps = self.step(batch)
        return self.conclude(claims, batch, steps, progress, before=before)

    def go_back(self) -> Progress:
        """To the last checkpoint whose policy is recorded, unless another trainer has taken over."""
        self.feed.check_taken_over()
        self.feed.release()
        progress = self.resume()
        self.feed.version = progress.version
        self.ensure_checkpoint(progress)
        return progress

    def prepare(self, claims: Sequence[Claim], progress: Progress) -> Batch:
        """Advantages, sequences, microbatches. Raises BrokenGroups."""
        with self.report.phase("prepare"):
            batch = BrokenGroups.named(
                claims,
                partial(
                    prepare,
                    parts=self.objective.parts,
                    baseline=progress.baseline,
                    training_version=progress.version,
                    token_budget=self.token_budget,
                    ranks=self.learner.data_parallel,
                    min_saving=self.learner.min_tree_saving,
                ),
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
        self,
        claims: Sequence[Claim],
        batch: Batch,
        steps: Steps,
        progress: Progress,
        *,
        before: int,
    ) -> Progress:
        """Publish a policy if groups were trained, and release the others. The baseline then stays as it was: it would count rewards of
        released groups twice.
        """
        trained, untrained = steps.parted(claims)
        if trained:
            version = self.publisher.reserve(progress.version)
            reached = Progress(version, batch.prior if untrained else batch.baseline)
            is_due = self.checkpoints.is_due(self.learner.steps, before=before)
            policy = self.publish(trained, batch, reached, parent=progress.version, is_due=is_due)
            self.record_step(batch, steps, policy)
            progress = reached
        self.feed.refuse(untrained)
        return progress

    def publish(
        self,
        claims: Sequence[Claim],
        batch: Batch,
        reached: Progress,
        *,
        parent: int,
        is_due: bool,
    ) -> Policy:
        """Write the policy and its checkpoint, record it together with the episodes it was trained on, and serve it."""
        if is_due:
            self.begin_checkpoint(reached)
        with self.report.phase("publish"):
            policy = self.publisher.write(self.learner, reached.version, parent=parent)
            self.checkpoints.wait(CHECKPOINT_SECONDS)
            self.feed.ack(claims, policy, step=self.learner.steps, credit=batch.credit)
        if self.checkpoints.is_written:
            self.finish_checkpoint()
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

    def ensure_checkpoint(self, progress: Progress) -> None:
        """Write a checkpoint of the current policy unless there is one.

        An unfinished checkpoint is waited for, because it may fail and the ranks must decide alike.
        """
        self.finish_checkpoint()
        if not self.checkpoints.has(progress.version):
            self.begin_checkpoint(progress)

    def finish_checkpoint(self) -> None:
        """Wait for the checkpoint that was begun, if any. The store may then forget groups that no restart trains again. If the disk is
        full, the next checkpoint is the next attempt.
        """
        if not self.checkpoints.is_begun:
            return
        try:
            with self.report.phase("checkpoint"):
                self.checkpoints.finish()
            if self.ranks.is_primary:
                self.checkpoints.prune(pinned=self.publisher.pinned())
                self.feed.checkpointed(self.checkpoints.oldest_kept)
        except OSError as error:
            self.report.alert("checkpoint", error=str(error))
