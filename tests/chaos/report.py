"""The table at the end of a run."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from rich.console import Group
from rich.table import Table

from tests.chaos.check import Findings
from tests.chaos.faults import Fault
from tests.chaos.history import Step
from tests.chaos.journal import Failure, Journal
from tests.chaos.memory import Held, thirds
from tests.chaos.service import Service

RECOVERY_SECONDS = 20.0  # a failure in this time after a fault is counted as its effect
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Progress:
    """What was published, and what of it is in the lineage that is served."""

    steps: list[Step]
    faults: list[Fault]

    @property
    def kept(self) -> int:
        return sum(step.kept for step in self.steps)

    @property
    def ratio(self) -> float:
        return self.kept / len(self.steps) if self.steps else 0.0

    @property
    def waits(self) -> list[float]:
        """Seconds from each kill to the next step that was kept."""
        kept = [step.seen for step in self.steps if step.kept]
        kills = [fault.begun for fault in self.faults if fault.is_kill]
        nexts = ((kill, [at for at in kept if at >= kill]) for kill in kills)
        return [max(0.0, min(later) - kill) for kill, later in nexts if later]


def table(
    *,
    service: Service,
    journal: Journal,
    faults: list[Fault],
    findings: Findings,
    progress: Progress,
    held: Held,
) -> Group:
    return Group(
        _summary(service, journal, faults, findings, progress),
        _failures(journal, faults),
        _held(held),
        *(f"offender: {each}" for each in findings.offenders[:SHOWN]),
        findings.audit,
    )


def _summary(
    service: Service,
    journal: Journal,
    faults: list[Fault],
    findings: Findings,
    progress: Progress,
) -> Table:
    processes = service.processes.values()
    rows = {
        **dict(sorted(Counter(fault.kind for fault in faults).items())),
        "acknowledged turns": len(journal.turns),
        "acknowledged rewards": len(journal.rewards),
        "lost turns": len(findings.lost_turns) + len(findings.wrong_tokens),
        "lost rewards": len(findings.lost_rewards),
        "trained twice": len(findings.trained_twice),
        "offenders": len(findings.offenders),
        "dispositions of acknowledged episodes": dict(findings.statuses),
        "steps published": len(progress.steps),
        "steps kept": progress.kept,
        "kept / published": f"{progress.ratio:.2f}",
        "median seconds from a kill to the next kept step": f"{median(progress.waits or [0]):.1f}",
        "longest": f"{max(progress.waits or [0]):.1f}",
        "restarts": {p["name"]: p["restarts"] for p in processes},
        "last exits": {p["name"]: p["last_exit"] for p in processes},
        "longest back-off so far": f"{max(p['backoff_seconds'] for p in processes):.1f} s",
        **journal.counts,
    }
    table = Table("chaos", "")
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table


def _failures(journal: Journal, faults: list[Fault]) -> Table:
    table = Table("failure", "call", "attempts", "retry-after", "during or after", "count")
    seen = Counter(
        (
            f.what,
            f.call,
            ", ".join(f.attempts),
            "yes" if f.has_retry_after else "no",
            _cause(f, faults),
        )
        for f in journal.failures
    )
    for row, count in sorted(seen.items()):
        table.add_row(*row, str(count))
    return table


def _cause(failure: Failure, faults: list[Fault]) -> str:
    return ", ".join(sorted(set(_around(failure, faults)))) or "nothing"


def _around(failure: Failure, faults: list[Fault]) -> Iterator[str]:
    for fault in faults:
        over = fault.over or failure.ended
        if fault.begun <= failure.ended and over + RECOVERY_SECONDS >= failure.begun:
            yield fault.kind


def _held(held: Held) -> Table:
    table = Table("process", "what", "first third", "middle", "last", "change")
    for (process, what), samples in held.longest().items():
        first, middle, last = thirds(samples)
        change = f"{100 * (last / middle - 1):+.0f} %" if middle else ""
        table.add_row(process, what, f"{first:.0f}", f"{middle:.0f}", f"{last:.0f}", change)
    return table
