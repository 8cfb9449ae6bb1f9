"""Sequences into microbatches under a token budget: first fit, longest first."""

from collections.abc import Sequence


def pack(lengths: Sequence[int], *, token_budget: int, multiple: int = 1) -> list[list[int]]:
    """Indices of `lengths` by microbatch; a sequence longer than the budget gets one of its own.

    pack([6, 5, 4, 3, 2], token_budget=10)  ->  [[0, 2], [1, 3, 4]]

    Their number is a multiple of `multiple`, the ranks that share them, as far as there are sequences to split.
    """
    bins: list[list[int]] = []
    loads: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = next(
            (b for b, load in enumerate(loads) if load + lengths[index] <= token_budget), None
        )
        if place is None:
            bins.append([])
            loads.append(0)
            place = len(bins) - 1
        bins[place].append(index)
        loads[place] += lengths[index]
    return _to_multiple(bins, lengths, multiple)


def _to_multiple(bins: list[list[int]], lengths: Sequence[int], multiple: int) -> list[list[int]]:
    """Split the fullest microbatches until their number is a multiple."""
    while len(bins) % multiple:
        divisible = [b for b in range(len(bins)) if len(bins[b]) > 1]
        if not divisible:
            break
        fullest = max(divisible, key=lambda b: _load(bins[b], lengths))
        bins[fullest], rest = _halves(bins[fullest], lengths)
        bins.append(rest)
    return bins


def _halves(items: list[int], lengths: Sequence[int]) -> tuple[list[int], list[int]]:
    left: list[int] = []
    right: list[int] = []
    for index in items:
        lighter = left if _load(left, lengths) <= _load(right, lengths) else right
        lighter.append(index)
    return left, right


def _load(items: list[int], lengths: Sequence[int]) -> int:
    return sum(lengths[i] for i in items)
