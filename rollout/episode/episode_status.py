"""The states that an episode passes through, and the legal moves between them."""

from enum import StrEnum


class EpisodeStatus(StrEnum):
    """Where an episode stands; LEGAL_MOVES says where it may go."""

    OPEN = "open"
    SEALED = "sealed"
    REWARDED = "rewarded"
    CLAIMED = "claimed"
    TRAINED = "trained"
    DISCARDED = "discarded"

    @property
    def is_live(self) -> bool:
        """Neither trained nor discarded."""
        return self not in (EpisodeStatus.TRAINED, EpisodeStatus.DISCARDED)


class DiscardReason(StrEnum):
    """Why an episode will not be trained."""

    STALE = "stale"
    NO_SIGNAL = "no_signal"
    EVALUATED = "evaluated"  # a held-out episode
    EXPIRED = "expired"
    ABORTED = "aborted"
    DELETED = "deleted"
    OVERLONG = "overlong"
    FAILED = "failed"


# Back to rewarded: a claim was released or its lease expired, or a checkpoint from before the training was restored.
LEGAL_MOVES: dict[EpisodeStatus, frozenset[EpisodeStatus]] = {
    EpisodeStatus.OPEN: frozenset({EpisodeStatus.SEALED, EpisodeStatus.DISCARDED}),
    EpisodeStatus.SEALED: frozenset({EpisodeStatus.REWARDED, EpisodeStatus.DISCARDED}),
    EpisodeStatus.REWARDED: frozenset({EpisodeStatus.CLAIMED, EpisodeStatus.DISCARDED}),
    EpisodeStatus.CLAIMED: frozenset(
        {EpisodeStatus.TRAINED, EpisodeStatus.REWARDED, EpisodeStatus.DISCARDED}
    ),
    EpisodeStatus.TRAINED: frozenset({EpisodeStatus.REWARDED}),
    EpisodeStatus.DISCARDED: frozenset(),
}
