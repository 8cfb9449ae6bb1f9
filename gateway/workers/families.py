"""What workers count, added up. A sum holds those that have ended too, so that no counter of a gateway ever falls.

Only what a worker counts itself is added: of the state of the store and the engines, each has the same to say.
"""

from collections.abc import Iterable, Sequence

import msgspec
from prometheus_client.core import Metric
from prometheus_client.samples import Sample

Labels = tuple[tuple[str, str], ...]


class Family(msgspec.Struct, frozen=True, array_like=True):
    """One metric with its samples: name, labels, value."""

    name: str
    meaning: str
    kind: str
    samples: Sequence[tuple[str, Labels, float]]

    @classmethod
    def of(cls, metric: Metric) -> "Family":
        samples = [(each.name, tuple(each.labels.items()), each.value) for each in metric.samples]
        return cls(metric.name, metric.documentation, metric.type, samples)

    @property
    def metric(self) -> Metric:
        metric = Metric(self.name, self.meaning, self.kind)
        metric.samples = [Sample(name, dict(labels), value) for name, labels, value in self.samples]
        return metric


def added(counts: Iterable[Sequence[Family]]) -> list[Family]:
    """The sums of counters and histograms; of the times at which they began to count, the first."""
    families: dict[str, Family] = {}
    sums: dict[str, dict[tuple[str, Labels], float]] = {}
    for family in (family for counted in counts for family in counted):
        families.setdefault(family.name, family)
        values = sums.setdefault(family.name, {})
        for name, labels, value in family.samples:
            key = (name, labels)
            if key not in values:
                values[key] = value
            elif name.endswith("_created"):
                values[key] = min(values[key], value)
            else:
                values[key] += value
    return [
        msgspec.structs.replace(
            family, samples=[(*key, value) for key, value in sums[name].items()]
        )
        for name, family in families.items()
    ]
