"""The weight of every token of a batch in its loss, by the aggregation that the composition names."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.algorithms.entry import call
from trainer.batch.episode_rows import Row
from trainer.composition.composition import Composition


def token_weights(rows: Sequence[Row], parts: Composition) -> list[Tensor]:
    """One tensor per row; denominators count all rows given, trained or not."""
    entry = parts.known.aggregation[parts.aggregation]
    lengths = [len(row.sequence) for row in rows]
    inputs = {
        "action_mask": torch.cat([torch.from_numpy(row.sequence.action_mask) for row in rows]),
        "groups": torch.tensor([row.group for row in rows]),
        "episodes": torch.tensor([row.episode for row in rows]),
        "cu_seqlens": torch.tensor([0, *lengths]).cumsum(0),
    }
    weights = call(entry.formula, inputs | parts.own(entry))
    return list(torch.split(weights, lengths))
