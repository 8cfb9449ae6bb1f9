"""The ledger's records."""

import hashlib
from collections.abc import Mapping

import msgspec

from rollout.episode.episode_status import EpisodeStatus


class Project(msgspec.Struct, frozen=True):
    """A tenant. Its episode keys are signed with the secret."""

    name: str
    episode_secret: str
    created: int
    trains: bool = True  # whether its episodes may be trained on
    private_prefix_cache: bool = (
        False  # whether engines keep its prompts apart from other projects'
    )

    def __repr__(self) -> str:
        return f"Project({self.name!r})"


class Key(msgspec.Struct, frozen=True):
    """An API key without its secret; `hint` is the beginning of the secret."""

    id: str
    project: str
    name: str
    hint: str
    scopes: frozenset[str]
    limits: Mapping[str, int]
    created: int
    expires: int | None = None


class TrainingStep(msgspec.Struct, frozen=True):
    """An optimizer step, and the policy version that it produced from `parent`.

    Its metrics are empty if the trainer died before it recorded them. It is abandoned if training continued from an older version.
    """

    step: int
    version: int
    metrics: Mapping[str, float]
    created: int
    parent: int | None = None
    abandoned: bool = False


class LedgerPolicy(msgspec.Struct, frozen=True):
    """A policy's place in its lineage."""

    version: int
    parent: int | None
    abandoned: bool


class TrainedEpisode(msgspec.Struct, frozen=True):
    """An episode that was trained into a version. Its opening time tells it from a later episode with the same id."""

    version: int
    episode_id: str
    created_ms: int


class SwapRecord(msgspec.Struct, frozen=True):
    """One engine's change of policy."""

    version: int
    engine: str
    gap_seconds: float
    ok: bool
    error: str
    created: int


class LedgerEpisode(msgspec.Struct, frozen=True):
    """A settled episode; `requeued` if a restored checkpoint made it live again. Times are milliseconds."""

    id: str
    group_id: str
    task_id: str
    kind: str
    key_id: str
    metadata_json: str
    disposition: str
    policy_version: int | None
    reward: float
    num_rewards: int
    num_turns: int
    num_trainable_tokens: int
    num_output_tokens: int
    min_version: int | None
    max_version: int | None
    outcome: str
    truncated: bool
    created_ms: int
    sealed_ms: int
    settled_ms: int
    sequence: int

    @property
    def status(self) -> EpisodeStatus:
        """The status that belongs to the disposition."""
        if self.disposition == "requeued":
            return EpisodeStatus.REWARDED
        is_trained = self.disposition == EpisodeStatus.TRAINED
        return EpisodeStatus.TRAINED if is_trained else EpisodeStatus.DISCARDED


def key_digest(secret: str) -> str:
    """The stored hash of a secret, which is random and long, so a plain hash cannot be reversed."""
    return hashlib.sha256(secret.encode()).hexdigest()
