"""What can go wrong while rolling out, as one tree.

RolloutError
├── StoreError
│   ├── NoSuchEpisode, NoSuchTurn, NoSuchGroup
│   ├── EpisodeSealed, EpisodeClaimed, EpisodeSettled
│   ├── GroupClosed, Backlogged, TooManyOpenEpisodes
│   ├── RetryMismatch, AttemptSuperseded
│   ├── ClaimLost, LineageLeft, Superseded
│   ├── DamagedRecord, DamagedEpisode
│   ├── StoreTooNew, ShardsDiffer
│   └── StoreUnavailable
├── EngineError     its kinds are in `engine/errors.py`
├── PolicyError
│   ├── PolicyDamaged
│   └── PolicyNotWritten
└── LedgerError
    ├── KeyDeleted, ValueRefused
    └── LedgerUnavailable
        └── LedgerAddressWrong

The store's Lua scripts answer with a class name and its arguments, so the names are part of the wire.
"""


class RolloutError(Exception):
    """Anything this package refuses or fails to do."""


class StoreError(RolloutError):
    """A transition that the store refused, or could not attempt."""


class NoSuchEpisode(StoreError):
    """The id was never opened, or its data has expired."""

    def __init__(self, episode_id: str) -> None:
        super().__init__(f"no episode {episode_id}; it was never opened, or its data has expired")


class NoSuchTurn(StoreError):
    """The turn is unknown, or belongs to another episode."""

    def __init__(self, turn_id: str) -> None:
        super().__init__(f"no turn {turn_id} in this episode; use an id that a reply carried")


class NoSuchGroup(StoreError):
    """No episode was opened in this group, or its data has expired."""

    def __init__(self, group_id: str) -> None:
        super().__init__(f"no group {group_id}; open an episode in it first")


class EpisodeSealed(StoreError):
    """No more turns are accepted."""

    def __init__(self, episode_id: str) -> None:
        super().__init__(f"episode {episode_id} is sealed; open a new one")


class EpisodeClaimed(StoreError):
    """The trainer holds the episode, so that nothing about it may change."""

    def __init__(self, episode_id: str) -> None:
        super().__init__(f"episode {episode_id} is being trained; post rewards earlier")


class EpisodeSettled(StoreError):
    """The episode was trained or discarded; its reward can no longer change."""

    def __init__(self, episode_id: str, disposition: str) -> None:
        super().__init__(f"episode {episode_id} is settled ({disposition}); open a new one")


class GroupClosed(StoreError):
    """The group is full, or no longer open."""

    def __init__(self, group_id: str) -> None:
        super().__init__(f"group {group_id} takes no more episodes; open one in a new group")


class Backlogged(StoreError):
    """A new group would be stale by the time it is trained, or its key holds its share of what may wait."""

    def __init__(self, retry_after: str | float, used_up: str = "project") -> None:
        self.retry_after = float(retry_after)
        why = {
            "key": "this key has its share of the episodes that may wait to be trained",
            "policy": "training is synchronous and makes the next policy now",
            "opening": "another call names this episode with another group",
        }.get(used_up, "enough episodes are waiting to be trained")
        super().__init__(f"{why}; retry in {self.retry_after:g} seconds")


class TooManyOpenEpisodes(StoreError):
    """The key has as many open episodes as it may."""

    retry_after = 1.0

    def __init__(self, limit: str) -> None:
        super().__init__(
            f"this key may have {limit} open episodes; complete or delete one, or wait until it ends"
        )


class RetryMismatch(StoreError):
    """A retry key or idempotency key was used before with other content."""

    def __init__(self, key: str) -> None:
        super().__init__(f"key {key} was used before with other content; choose a new key")


class AttemptSuperseded(StoreError):
    """The lease of this attempt expired, and a repeat of the call was sampled in its place."""

    def __init__(self, episode_id: str) -> None:
        super().__init__(f"this call in episode {episode_id} was repeated and answered; repeat it")


class ClaimLost(StoreError):
    """A lease expired and the groups are no longer the caller's."""

    def __init__(self, *group_ids: str) -> None:
        super().__init__(f"no longer claimed by this trainer: {', '.join(group_ids)}; claim again")
        self.group_ids = group_ids


class DamagedRecord(StoreError):
    """A record in Redis is not what the table in `store.py` says; the store moves it aside and goes on without it."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"record {name} is damaged ({why}); it was moved aside")
        self.name = name
        self.why = why


class DamagedEpisode(DamagedRecord):
    """A record of an episode cannot be read; the episode is discarded as failed."""

    def __init__(self, episode_id: str, why: str) -> None:
        super().__init__(f"ep:{episode_id}", why)
        self.episode_id = episode_id


class StoreTooNew(StoreError):
    """A newer release wrote the records in Redis."""

    def __init__(self, found: str, known: str) -> None:
        super().__init__(
            f"the records in Redis have layout {found} and this release writes layout {known}; run the release that wrote them"
        )


class ShardsDiffer(StoreError):
    """The project's episodes lie in another number of shards than the setting says."""

    def __init__(self, project: str, *, found: int, wanted: int) -> None:
        super().__init__(
            f"project {project} has episodes in {found} shards and TURNGATE_STORE_SHARDS is {wanted}; set it to {found}, "
            "or change it after all episodes have ended and the ledger has them"
        )


class LineageLeft(StoreError):
    """The recorded policy is not the parent of the one to record."""

    def __init__(self, recorded: str, parent: str) -> None:
        super().__init__(
            f"the store has recorded policy {recorded}, and this one continues {parent}; "
            "Redis was restored from an older copy: the trainer goes back to what ledger and disk know"
        )


class Superseded(StoreError):
    """Another trainer of the project has started since; this one may not go on."""

    def __init__(self, trainer: str) -> None:
        super().__init__(f"trainer {trainer} has taken over this project; run one trainer for each")


class StoreUnavailable(StoreError):
    """Redis did not answer in time; whether the transition happened is unknown, repeating is safe."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the episode store is unavailable ({why}); check Redis and retry")


class PolicyError(RolloutError):
    """A directory of weights is not what it should be."""


class PolicyDamaged(PolicyError):
    """A policy's files are missing, cut short or changed, compared with its manifest."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"policy {path} is damaged ({why}); publish it again")


class PolicyNotWritten(PolicyError):
    """Publishing failed; nothing of the policy is on disk."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"policy {path} was not written ({why}); nothing of it was kept")


class LedgerError(RolloutError):
    """The SQL database did not do what it was asked."""


class KeyDeleted(LedgerError):
    """The key of a repeated call was deleted since, and is not made again."""

    def __init__(self, hint: str) -> None:
        super().__init__(f"the key {hint}… was deleted; make another with a new Idempotency-Key")


class ValueRefused(LedgerError):
    """A value fits no column: a number is too large, or a text has a character that the database refuses."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the ledger cannot hold a value ({why}); use smaller numbers and plain text"
        )


class LedgerUnavailable(LedgerError):
    """The database cannot be reached or used now; what waits for it stays in the store."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the ledger is unavailable ({why}); check TURNGATE_DATABASE_URL and the database"
        )


class LedgerAddressWrong(LedgerUnavailable):
    """The URL of the database can never be opened, so waiting does not help."""
