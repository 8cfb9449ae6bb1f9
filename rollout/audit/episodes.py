"""Whether one episode agrees with itself, with its group and with the ledger."""

import math
from collections.abc import Mapping

from rollout.audit.offender import Offender, Suspects
from rollout.audit.rewards import check_rewards
from rollout.audit.turns import check_turns
from rollout.episode.episode_status import DiscardReason, EpisodeStatus
from rollout.ledger.records import LedgerEpisode
from rollout.store.inspection import EpisodeInspection

STATUSES = frozenset(status.value for status in EpisodeStatus)
REASONS = frozenset(reason.value for reason in DiscardReason)


def check_episode(
    episode: EpisodeInspection, row: LedgerEpisode | None, weights: Mapping[str, float]
) -> list[Offender]:
    """The offenders of an episode in the store; `row` is what the ledger has of it, read later."""
    suspects = Suspects("episode", episode.id)
    if episode.is_gone:  # forgotten since its id was read
        return suspects.found
    for name in episode.unreadable:
        suspects.name("key", name, "a key of the type that the store writes", "another type")
    if not episode.unreadable and episode.header:
        _check_status(episode, suspects)
        _check_indexes(episode, suspects)
        _check_group(episode, suspects)
        check_turns(episode, suspects)
        check_rewards(episode, suspects)
        _check_ledger(episode, row, weights, suspects)
    elif not episode.unreadable:
        suspects.expect(is_so=False, expected="a header", found="none")
    return suspects.found


def _check_status(episode: EpisodeInspection, suspects: Suspects) -> None:
    """Exactly one disposition, or none while it is live."""
    header = episode.header
    suspects.same("the id in its header", episode.id, header.get("id"))
    suspects.expect(episode.status in STATUSES, "a known status", episode.status)
    is_discarded, is_trained = episode.status == "discarded", episode.status == "trained"
    reason, version = header.get("reason", ""), header.get("policy_version", "")
    suspects.expect(
        (reason in REASONS) if is_discarded else not reason,
        f"{'one' if is_discarded else 'no'} reason of a discarded episode",
        reason,
    )
    suspects.expect(
        bool(version) == is_trained, "a policy version if, and only if, it is trained", version
    )
    suspects.expect(
        bool(header.get("settled")) == (is_trained or is_discarded),
        "a time of settling if, and only if, it is settled",
        header.get("settled", ""),
    )
    suspects.expect(
        not is_trained or episode.advantage_bytes,
        "advantages, because it is trained",
        f"{episode.advantage_bytes or 0} bytes",
    )


def _check_indexes(episode: EpisodeInspection, suspects: Suspects) -> None:
    """Each index names it exactly while its status asks for it."""
    status, indexes = episode.status, episode.indexes
    is_held_out = episode.header.get("kind") == "side"
    has_signal = not is_held_out and bool(episode.number("trainable_turns"))
    has_failed = episode.header.get("outcome") == "failed" and not episode.number("rewards")
    is_ending = status == "sealed" and (has_failed or not has_signal)
    has_place = "place" in episode.header
    required = {
        "episodes": True,
        "idle": status == "open" or is_ending,
        "quiet": has_place and status in {"open", "sealed"},
        "expiring": status == "discarded" or (status == "trained" and "expiring" in indexes),
    }
    for name, is_due in required.items():
        expected = f"{'an entry' if is_due else 'no entry'} in {name}"
        suspects.expect((name in indexes) == is_due, expected, f"{status}, in {sorted(indexes)}")


def _check_group(episode: EpisodeInspection, suspects: Suspects) -> None:
    """A training episode is a member of its group; a held-out one has none."""
    group = episode.header.get("group", "")
    if episode.header.get("kind") == "side":
        suspects.same("the group of a held-out episode", "", group)
        return
    suspects.expect(group and episode.group_status, "a group that exists", group or "none")
    suspects.expect(episode.is_member, f"a place among the members of {group}", "none")


def _check_ledger(
    episode: EpisodeInspection,
    row: LedgerEpisode | None,
    weights: Mapping[str, float],
    suspects: Suspects,
) -> None:
    """What left the outbox is in the ledger as the store has it."""
    if "settled" in episode.indexes:
        return
    if row is not None and row.created_ms != episode.number("created"):
        row = None  # of an earlier episode with this id
    if not episode.disposition:
        found = row.disposition if row else "requeued"
        suspects.same("in the ledger nothing, or", "requeued", found)
        return
    if row is None:
        expected = "a row in the ledger, or an entry in the outbox"
        suspects.expect(is_so=False, expected=expected, found="neither")
        return
    version = episode.number("policy_version") if episode.status == "trained" else None
    reward = sum(
        weights.get(field.partition("|")[2], 1.0) * number
        for field, value in episode.rewards.items()
        if (number := _float(value)) is not None
    )
    suspects.same("the ledger's disposition", episode.disposition, row.disposition)
    suspects.same("the ledger's policy version", version, row.policy_version)
    suspects.same("the ledger's turns", episode.number("turns"), row.num_turns)
    suspects.same("the ledger's rewards", episode.number("rewards"), row.num_rewards)
    suspects.expect(
        math.isclose(reward, row.reward, rel_tol=1e-6, abs_tol=1e-6),
        f"the ledger's reward {reward:g}",
        f"{row.reward:g}",
    )


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
