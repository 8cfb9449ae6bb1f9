"""Okapi BM25 over a corpus in memory: enough for some ten thousand documents, without a dependency.

score(D, Q) = Σ over words q of Q:  idf(q) · f(q, D) · (k1 + 1) / (f(q, D) + k1 · (1 - b + b · |D| / mean |D|))
idf(q) = ln(1 + (N - n(q) + 0.5) / (n(q) + 0.5))                                  Robertson and Zaragoza (2009), as Lucene has it
"""

import heapq
import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

K1, B = 1.2, 0.75


class Index:
    """Finds the documents, by place, that fit a query best."""

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(words(text)) for text in texts]
        self._lengths = [count.total() for count in counts]
        self._mean_length = sum(self._lengths) / max(len(texts), 1)
        self._places: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for place, count in enumerate(counts):
            for word, times in count.items():
                self._places[word].append((place, times))

    def search(self, query: str, limit: int) -> list[int]:
        scores: dict[int, float] = defaultdict(float)
        for word in set(words(query)):
            found = self._places.get(word, [])
            rarity = math.log(1 + (len(self._lengths) - len(found) + 0.5) / (len(found) + 0.5))
            for place, times in found:
                length = self._lengths[place] / self._mean_length
                scores[place] += rarity * times * (K1 + 1) / (times + K1 * (1 - B + B * length))
        return heapq.nlargest(limit, scores, key=lambda place: (scores[place], -place))


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
