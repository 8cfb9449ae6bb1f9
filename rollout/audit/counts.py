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
        for name in (*LIVE, "reserved"):
            known, number = counts.totals.get(name, "0"), counts.counted.get(name, 0)
            suspects.same(f"{name}, counted anew:", str(number), known)
        for name in ENDED:  # the data of some is gone
            number = counts.counted.get(name, 0)
            suspects.expect(totals[name] >= number, f"at least {number} {name}", totals[name])
    return suspects.found


def check_dispositions(totals: Mapping[str, str], recorded: Counter[str]) -> list[Offender]:
    """By disposition, what the ledger and the outbox hold together; only if nothing moved meanwhile."""
    suspects = Suspects("count", "ledger")
    for name in ENDED:
        known = _number(totals.get(name, "0"))
        suspects.same(f"{name}, in the ledger and the outbox:", known, recorded[name])
    return suspects.found


def _number(text: str) -> int:
    return int(text) if text.removeprefix("-").isdecimal() else -1
