"""The metrics of the running gateway and trainer, read twice a second.

The names are those on the dashboard.
"""

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

PERIOD_SECONDS = 0.5
TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Observation:
    """All metrics, read once."""

    samples: Sequence[Sample] = ()

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples with this name and these labels; 0 if there is none."""
        return sum(sample.value for sample in self._named(name, labels))

    def by(self, name: str, label: str) -> dict[str, int]:
        return {sample.labels[label]: int(sample.value) for sample in self._named(name, {})}

    def quantile(self, histogram: str, fraction: float) -> float:
        """The upper bound of the bucket that holds it; exact if each bucket holds one integer."""
        count = self.total(f"{histogram}_count")
        for sample in self._named(f"{histogram}_bucket", {}):
            if count and sample.value >= fraction * count:
                return float(sample.labels["le"])
        return 0.0

    @property
    def policy_version(self) -> int:
        """The recorded policy; in a fresh stack also the number of optimizer steps taken."""
        return int(self.total("turngate_policy_version"))

    @property
    def dispositions(self) -> dict[str, int]:
        return {
            name: count
            for name, count in self.by("turngate_episodes_total", "disposition").items()
            if count
        }

    @property
    def live_episodes(self) -> int:
        return int(self.total("turngate_episodes_live"))

    @property
    def claimed_episodes(self) -> int:
        return int(self.total("turngate_episodes_live", status="claimed"))

    @property
    def is_still(self) -> bool:
        """Whether no batch is being trained and every engine serves the recorded policy."""
        serving = self.by("turngate_engine_policy_version", "engine").values()
        return self.claimed_episodes == 0 and set(serving) == {self.policy_version}

    def evaluation_episodes(self, version: int) -> int:
        """Held-out episodes of a policy that are in the ledger."""
        return int(self.total("turngate_evaluation_episodes", version=str(version)))

    def _named(self, name: str, labels: dict[str, str]) -> Iterator[Sample]:
        for sample in self.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                yield sample


class Observer:
    """`latest` is the last observation; `gaps` are the seconds that each engine paused for each swap."""

    def __init__(self, metrics_urls: Sequence[str]) -> None:
        self.latest = Observation()
        self.gaps: list[float] = []
        self._metrics_urls = metrics_urls
        self._looked = asyncio.Condition()

    async def watch(self) -> None:
        """Read the metrics every PERIOD_SECONDS, until cancelled."""
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False) as http:
            while True:
                await self._look(http)
                await asyncio.sleep(PERIOD_SECONDS)

    async def until(self, holds: Callable[[Observation], bool], *, stalled: float) -> None:
        """Wait for it; TimeoutError when the policy version has not moved for `stalled` seconds."""
        clock = asyncio.get_running_loop().time
        version, moved = self.latest.policy_version, clock()
        async with self._looked:
            while not holds(self.latest):
                await self._looked.wait()
                if self.latest.policy_version != version:
                    version, moved = self.latest.policy_version, clock()
                elif clock() - moved > stalled:
                    raise TimeoutError

    async def _look(self, http: httpx.AsyncClient) -> None:
        try:
            replies = [await http.get(url) for url in self._metrics_urls]
        except httpx.TransportError:  # a process is being restarted; a later reading succeeds
            replies = []
        families = [
            family
            for reply in replies
            for family in text_string_to_metric_families(reply.raise_for_status().text)
        ]
        async with self._looked:
            if families:
                self._advance(Observation([sample for f in families for sample in f.samples]))
            self._looked.notify_all()

    def _advance(self, seen: Observation) -> None:
        """A histogram keeps no single values, but between two readings there is seldom more than one swap."""
        name = "turngate_swap_gap_seconds"
        swaps = seen.total(f"{name}_count") - self.latest.total(f"{name}_count")
        seconds = seen.total(f"{name}_sum") - self.latest.total(f"{name}_sum")
        if swaps >= 1:
            self.gaps += [seconds / swaps] * int(swaps)
        self.latest = seen


def quantile(values: Sequence[float], fraction: float) -> float:
    """The nearest-rank quantile; 0 of nothing."""
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(fraction * len(values)) - 1)]
