"""A Prometheus histogram that observes all tokens of a batch at once; the library's own takes one value per call."""

from collections.abc import Iterator, Sequence

import torch
from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from torch import Tensor


class TokenHistogram(Collector):
    def __init__(
        self, name: str, text: str, *, registry: CollectorRegistry, bounds: Sequence[float]
    ) -> None:
        self._name, self._text = name, text
        self._bounds = torch.tensor(bounds, dtype=torch.float64)  # upper bounds, inclusive
        self._counts = torch.zeros(len(bounds) + 1, dtype=torch.int64)
        self._sum = 0.0
        registry.register(self)

    def observe(self, values: Tensor) -> None:
        """One value for each token."""
        buckets = torch.bucketize(values.double(), self._bounds)
        self._counts = self._counts + torch.bincount(buckets, minlength=len(self._counts))
        self._sum += float(values.double().sum())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        ends = [*(f"{bound:g}" for bound in self._bounds.tolist()), "+Inf"]
        counts = self._counts.cumsum(0).tolist()
        yield HistogramMetricFamily(
            self._name, self._text, buckets=[*zip(ends, counts, strict=True)], sum_value=self._sum
        )
