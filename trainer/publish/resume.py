"""How a trainer resumes, at its start and after a batch that did not count: which weights it holds, which groups train again.

It goes back to the newest checkpoint whose policy the store has recorded. Policies that were written and not recorded are removed
with their checkpoints. If the checkpoint is older than the recorded policy, the groups that were trained since are queued again,
and its weights are published under a new version. So engines serve the policy that trains next, and every episode with status
`trained` is in its lineage.
"""

import logging
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from rollout.errors import RolloutError
from rollout.policies import Policy
from rollout.settings import SettingsError
from rollout.store.store import Store
from trainer.async_bridge import AsyncBridge
from trainer.learner.errors import CheckpointDamaged
from trainer.learner.learner import Learner
from trainer.publish.checkpoints import Checkpoints, Progress
from trainer.publish.publisher import Publisher
from trainer.ranks import Ranks

log = logging.getLogger("trainer.resume")


class NothingToRestore(RolloutError):
    """The learner holds weights that no policy has, and no checkpoint is left."""

    def __init__(self) -> None:
        super().__init__(
            "there is no checkpoint to go back to; a new start takes the recorded policy"
        )


class Resumption:
    """The recorded policy, the newest checkpoint, and which of the two training continues from."""

    def __init__(
        self, store: Store, bridge: AsyncBridge, checkpoints: Checkpoints, model_dir: Path
    ) -> None:
        self._store, self._bridge, self._checkpoints = store, bridge, checkpoints
        self._model_dir = model_dir
        self._recorded = bridge.call(store.recorded_policy)
        if self._recorded is not None:
            refuse_another_model(self._recorded, model_dir)

    def starting_weights(self) -> Path:
        """The directory to build the learner from: the recorded policy, or the base model if a checkpoint will replace the weights."""
        if self._recorded is None:
            return self._model_dir
        if self._checkpoints.newest(at_most=self._recorded.version) is not None:
            return self._model_dir
        log.warning("no checkpoint of the recorded policy", extra={"path": self._recorded.path})
        return Path(self._recorded.path)

    def resume(self, learner: Learner, publisher: Publisher, ranks: Ranks) -> Progress:
        """Bring learner, store and engines to one policy; returns the progress that the loop continues with."""
        publisher.catch_up(restorable=self._checkpoints.newest())
        recorded = self._bridge.call(self._store.recorded_policy) if ranks.is_primary else None
        recorded = ranks.share(recorded)
        if recorded is not None:
            self._remove_unrecorded(recorded, publisher, ranks)
            # A trainer that died after the ack has not written it to the ledger.
            publisher.record(recorded)
        progress = self._restore(learner, recorded, ranks)
        if progress is None:
            self._recorded = recorded or publisher.adopt_starter(self._model_dir)
            progress = Progress(version=self._recorded.version)
        elif recorded is None or recorded.version != progress.version:
            progress = self._republish(learner, progress, publisher, ranks)
        publisher.swap()
        return progress

    def _remove_unrecorded(self, recorded: Policy, publisher: Publisher, ranks: Ranks) -> None:
        if self._checkpoints.is_begun:
            with suppress(OSError):
                self._checkpoints.finish()
        if ranks.is_primary:
            self._bridge.write(lambda: self._checkpoints.forget_after(recorded.version))
            self._bridge.write(lambda: publisher.remove_orphans(recorded))

    def _restore(self, learner: Learner, recorded: Policy | None, ranks: Ranks) -> Progress | None:
        """From the newest checkpoint that is whole; None if there is none and the learner is as it was made."""
        at_most = None if recorded is None else recorded.version
        is_as_made = learner.steps == 0 and recorded == self._recorded
        while (version := ranks.share(self._checkpoints.newest(at_most=at_most))) is not None:
            try:
                return self._checkpoints.restore(learner, version)
            except CheckpointDamaged as error:
                log.error("checkpoint damaged", extra={"version": version, "error": str(error)})
                is_as_made = False  # its weights were to be replaced
                if ranks.is_primary:
                    self._bridge.write(partial(self._checkpoints.set_aside, version))
        if not is_as_made:
            raise NothingToRestore
        return None

    def _republish(
        self, learner: Learner, progress: Progress, publisher: Publisher, ranks: Ranks
    ) -> Progress:
        if ranks.is_primary:
            groups = self._bridge.call(self._store.restore, progress.version)
            fields = {"version": progress.version, "requeued_groups": len(groups)}
            log.warning("the checkpoint is older than the recorded policy", extra=fields)
        version = publisher.reserve(progress.version)
        policy = publisher.write(learner, version, parent=progress.version)
        publisher.record(policy)
        return replace(progress, version=policy.version)


def refuse_another_model(recorded: Policy, model_dir: Path) -> None:
    """A project trains one model: new weights are published with the configuration of `model_dir`."""
    configured, trained = (
        Path(directory) / "config.json" for directory in (model_dir, recorded.path)
    )
    if (
        configured.is_file()
        and trained.is_file()
        and configured.read_bytes() != trained.read_bytes()
    ):
        raise SettingsError(
            f"TURNGATE_MODEL_DIR: {model_dir} is another model than {recorded.path}, which this project "
            "trains; name that model, or another TURNGATE_PROJECT"
        )
