"""How a trainer resumes: which weights it holds, and which groups have to be trained again.

A checkpoint may be older than the last recorded policy, because policies are published at every step and checkpoints are not. Then
the groups that were trained since are queued again, and the checkpoint's weights are published under a new version. So engines
serve the policy that trains next, and every episode with status `trained` is in its lineage.
"""

import logging
from dataclasses import replace
from pathlib import Path

from rollout.policies import Policy
from rollout.settings import SettingsError
from rollout.store.store import Store
from trainer.async_bridge import AsyncBridge
from trainer.learner.learner import Learner
from trainer.publish.checkpoints import Checkpoints, Progress
from trainer.publish.publisher import Publisher
from trainer.ranks import Ranks

log = logging.getLogger("trainer.resume")


class Resumption:
    """The recorded policy, the newest checkpoint, and which of the two training continues from."""

    def __init__(
        self, store: Store, bridge: AsyncBridge, checkpoints: Checkpoints, model_dir: Path
    ) -> None:
        self._store, self._bridge, self._checkpoints = store, bridge, checkpoints
        self._model_dir = model_dir
        bridge.call(store.prepare)
        self._recorded = bridge.call(store.recorded_policy)
        if self._recorded is not None:
            refuse_another_model(self._recorded, model_dir)

    def starting_weights(self) -> Path:
        """The directory to build the learner from: the recorded policy, or the base model if a checkpoint will replace the weights."""
        if self._recorded is None or self._checkpoints.latest() is not None:
            return self._model_dir
        return Path(self._recorded.path)

    def resume(self, learner: Learner, publisher: Publisher, ranks: Ranks) -> Progress:
        """Bring learner, store and engines to one policy; returns the progress that the loop starts with."""
        progress = self._checkpoints.restore(learner)
        if self._recorded is not None:
            publisher.remove_orphans(self._recorded)
            # A trainer that died after the ack has not written it to the ledger.
            publisher.record(self._recorded)
        if progress is None:
            policy = self._recorded or publisher.adopt_starter(self._model_dir)
            progress = Progress(version=policy.version)
        elif self._recorded is None or self._recorded.version != progress.version:
            progress = self._republish(learner, progress, publisher, ranks)
        publisher.swap()
        return progress

    def _republish(
        self, learner: Learner, progress: Progress, publisher: Publisher, ranks: Ranks
    ) -> Progress:
        if ranks.is_primary:
            groups = self._bridge.call(self._store.restore, progress.version)
            fields = {"version": progress.version, "requeued_groups": len(groups)}
            log.warning("the checkpoint is older than the recorded policy", extra=fields)
        policy = publisher.write(learner, parent=progress.version)
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
