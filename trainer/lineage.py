"""Where a trainer takes up its work: which weights it holds, and what has to be trained again.

A checkpoint may be older than the policy recorded last, because policies are published at every step and checkpoints are not. Then
what was trained since is queued again, and the checkpoint's weights are published under a new version, so that engines serve what
the next gradient is taken from and `trained` stays true of every episode that says so.
"""

import logging
from dataclasses import replace
from pathlib import Path

from rollout.policies import Policy
from rollout.store import Store
from trainer.checkpoints import Checkpoints, Progress
from trainer.feed import is_pinned
from trainer.megatron.learner import Learner
from trainer.portal import Portal, Stopped
from trainer.publish import Publisher
from trainer.ranks import Ranks

log = logging.getLogger("trainer.lineage")

LOOK_AGAIN_SECONDS = 30.0


def recorded_policy(store: Store, portal: Portal) -> Policy | None:
    """The policy recorded last. While one is pinned that cannot be known, and training waits."""
    while portal.call(is_pinned, store, portal, LOOK_AGAIN_SECONDS):
        if portal.is_stopping:
            raise Stopped("a policy is pinned")
        log.info("a policy is pinned; training waits")
    return portal.call(store.policy)


def starting_weights(recorded: Policy | None, checkpoints: Checkpoints, model_dir: Path) -> Path:
    """What to build the learner from: the recorded policy, unless a checkpoint is about to replace the weights."""
    if recorded is None or checkpoints.latest() is not None:
        return model_dir
    return Path(recorded.path)


def resume(
    learner: Learner,
    recorded: Policy | None,
    *,
    checkpoints: Checkpoints,
    publisher: Publisher,
    store: Store,
    portal: Portal,
    ranks: Ranks,
    model_dir: Path,
) -> Progress:
    """Bring learner, store and engines to one policy; returns what the loop goes on with."""
    progress = checkpoints.restore(learner)
    if recorded is None and progress is None:
        if ranks.is_primary:
            publisher.adopt_starter(model_dir)
        publisher.swap()
        return Progress()
    if recorded is not None and ranks.is_primary:
        publisher.remove_orphans(recorded)
    if progress is None:
        assert recorded is not None
        progress = Progress(version=recorded.version)
    if recorded is None or recorded.version != progress.version:
        progress = _republish(learner, progress, publisher, store=store, portal=portal, ranks=ranks)
    publisher.swap()
    return progress


def _republish(
    learner: Learner,
    progress: Progress,
    publisher: Publisher,
    *,
    store: Store,
    portal: Portal,
    ranks: Ranks,
) -> Progress:
    if ranks.is_primary:
        groups = portal.call(store.restore, progress.version)
        log.warning(
            "older checkpoint", extra={"version": progress.version, "requeued": len(groups)}
        )
    policy = publisher.write(learner, parent=progress.version)
    publisher.record(policy)
    return replace(progress, version=policy.version)
