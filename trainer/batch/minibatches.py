"""A batch divided into minibatches: the data of each of its optimizer steps.

A group stays whole, so that its advantages still sum to zero and its shared prompt is computed once. Nothing is random: every rank and
every resumed trainer divides the same claims in the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.batch.assembly import assemble, microbatch_rows, moves
from trainer.batch.episode_rows import Row
from trainer.batch.tree import Branch
from trainer.composition.composition import Composition
from trainer.learner.microbatch import Microbatch, TrainBatch


@dataclass(frozen=True, slots=True)
class Minibatch:
    """Some groups of a batch, and which of the batch's microbatches are theirs."""

    groups: frozenset[int]  # numbered as in the batch
    first: int
    end: int  # exclusive; equal to first if none of its rows can move a weight

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
    for share in divide(rows, parts):
        own = microbatch_rows(
            share, parts=parts, token_budget=token_budget, ranks=ranks, min_saving=min_saving
        )
        train = assemble(share, own, parts=parts, training_version=training_version)
        groups = frozenset(row.group for row in share.values())
        minibatches.append(Minibatch(groups, len(bins), len(bins) + len(own)))
        bins += own
        microbatches += train.microbatches
    return Packed(tuple(bins), TrainBatch(tuple(microbatches)), tuple(minibatches))


def divide(rows: Sequence[Row], parts: Composition) -> list[dict[int, Row]]:
    """The numbered rows of each minibatch: groups go, largest first, to the minibatch with the fewest sampled tokens.

    Groups that can move a weight go before those that only count in denominators, so that every minibatch has some.
    """
    groups: dict[int, dict[int, Row]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(row.group, {})[number] = row
    tokens = {
        group: sum(row.num_sampled for row in members.values()) for group, members in groups.items()
    }
    can_move = {
        group: any(moves(row, parts) for row in members.values())
        for group, members in groups.items()
    }
    shares: list[dict[int, Row]] = [{} for _ in range(parts.minibatches)]
    loads = [0] * parts.minibatches
    for group in sorted(groups, key=lambda group: (can_move[group], tokens[group]), reverse=True):
        least = loads.index(min(loads))
        shares[least].update(groups[group])
        loads[least] += tokens[group]
    return [dict(sorted(share.items())) for share in shares]
