"""Whether the totals, which the metrics show, are what a new count of all episodes gives."""

from collections import Counter
from collections.abc import Mapping

from rollout.audit.offender import Offender, Suspects
from rollout.episode.episode_status import DiscardReason, EpisodeStatus
from rollout.store.inspection import CountInspection

LIVE = [status.value for status in EpisodeStatus if status.is_live]
ENDED = ["trained", *(reason.value for reason in DiscardReason)]


def check_counts(counts: CountInspection) -> list[Offender]:
    """Opened = live + trained + discarded; live episodes and reserved places are those of a new count."""
    suspects = Suspects("count", "totals")
    totals = {name: _number(counts.totals.get(name, "0")) for name in (*LIVE, *ENDED, "opened")}
    every = sum(totals[name] for name in (*LIVE, *ENDED))
    suspects.expect(
        totals["opened"] == every,
        f"opened = live + trained + discarded = {every}",
        totals["opened"],
    )
    if counts.counted or not any(totals[name] for name in LIVE):
        for name in LIVE:
            suspects.same(f"{name}, counted anew:", counts.counted.get(name, 0), totals[name])
        _check_places(counts, suspects)
        for name in ENDED:  # the data of some is gone
            number = counts.counted.get(name, 0)
            suspects.expect(totals[name] >= number, f"at least {number} {name}", totals[name])
    return suspects.found


def _check_places(counts: CountInspection, suspects: Suspects) -> None:
    """The places of admission are those of episodes and of groups that keep some, by holder and together."""
    reserved = _number(counts.totals.get("reserved", "0"))
    suspects.same("reserved places, counted anew:", sum(counts.places.values()), reserved)
    for holder in sorted(counts.places.keys() | counts.holders.keys()):
        known = _number(counts.holders.get(holder, "0"))
        suspects.same(f"places of {holder or 'no key'}:", counts.places.get(holder, 0), known)


def check_dispositions(totals: Mapping[str, str], recorded: Counter[str]) -> list[Offender]:
    """By disposition, what the ledger and the outbox hold together; only if nothing moved meanwhile.

    The ledger knows more than a Redis that lost data.
    """
    suspects = Suspects("count", "ledger")
    for name in ENDED:
        known, number = _number(totals.get(name, "0")), recorded[name]
        agrees = number >= known if "restored" in totals else number == known
        suspects.expect(agrees, f"{known} {name} in the ledger and the outbox", number)
    return suspects.found


def _number(text: str) -> int:
    return int(text) if text.removeprefix("-").isdecimal() else -1
