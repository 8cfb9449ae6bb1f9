"""A batch dealt into minibatches: what each of its optimizer steps consumes.

A group stays whole, so that its advantages still sum to zero and its shared prompt is computed once. Nothing is drawn: every rank and
every resumed trainer deals the same claims alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trainer.assembly import assemble, microbatch_rows, moves
from trainer.composition import Composition
from trainer.megatron.microbatch import Microbatch, TrainBatch
from trainer.rows import Row
from trainer.tree import Branch


@dataclass(frozen=True, slots=True)
class Minibatch:
    """Some groups of a batch, and which of the batch's microbatches are theirs."""

    groups: frozenset[int]  # numbered as in the batch
    first: int
    end: int  # behind the last; the first where none of its rows can move a weight

    def of(self, train: TrainBatch) -> TrainBatch:
        """Its microbatches, as the whole batch was measured."""
        return TrainBatch(train.microbatches[self.first : self.end])


@dataclass(frozen=True, slots=True)
class Packed:
    """The minibatches of a batch, one after the other."""

    bins: tuple[tuple[Branch, ...], ...]  # the rows of each microbatch
    train: TrainBatch
    minibatches: tuple[Minibatch, ...]


def pack_minibatches(
    rows: Sequence[Row],
    *,
    parts: Composition,
    training_version: int,
    token_budget: int,
    ranks: int,
    min_saving: float,
) -> Packed:
    """Each minibatch in microbatches of its own, under weights whose denominators are its own."""
    bins: list[tuple[Branch, ...]] = []
    microbatches: list[Microbatch] = []
    minibatches: list[Minibatch] = []
    for hand in deal(rows, parts):
        own = microbatch_rows(
            hand, parts=parts, token_budget=token_budget, ranks=ranks, min_saving=min_saving
        )
        train = assemble(hand, own, parts=parts, training_version=training_version)
        groups = frozenset(row.group for row in hand.values())
        minibatches.append(Minibatch(groups, len(bins), len(bins) + len(own)))
        bins += own
        microbatches += train.microbatches
    return Packed(tuple(bins), TrainBatch(tuple(microbatches)), tuple(minibatches))


def deal(rows: Sequence[Row], parts: Composition) -> list[dict[int, Row]]:
    """The numbered rows of each minibatch: groups go, most sampled tokens first, to the one with fewest so far.

    Those that can move a weight go before those that only count in denominators, so that no minibatch is without them.
    """
    by_group: dict[int, dict[int, Row]] = {}
    for number, row in enumerate(rows):
        by_group.setdefault(row.group, {})[number] = row
    order = sorted(by_group.values(), key=lambda group: _rank(group, parts), reverse=True)
    hands: list[dict[int, Row]] = [{} for _ in range(parts.minibatches)]
    for group in order:
        least = min(hands, key=_num_sampled)
        least.update(group)
    return [dict(sorted(hand.items())) for hand in hands]


def _rank(group: Mapping[int, Row], parts: Composition) -> tuple[bool, int]:
    return any(moves(row, parts) for row in group.values()), _num_sampled(group)


def _num_sampled(rows: Mapping[int, Row]) -> int:
    return sum(row.num_sampled for row in rows.values())
