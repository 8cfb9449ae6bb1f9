"""Training on tokens that were not sampled from the policy's own distribution.

A grammar, penalties, truncation or greedy decoding changed it. The engine changes logits before its softmax, so the recorded logprob
is of the distribution that the token came from, and the ratio to the policy's own corrects for it, except for tokens that could not be
sampled at all. A greedy token is different: its probability was 1.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from rollout.episode.sequences import TokenSequence
from rollout.episode.turn import FLAGGED, OutputFlags
from rollout.settings import FlaggedTokens
from trainer.algorithms import tis


def flagged_weights(
    weights: Tensor,
    *,
    origin_logprobs: Tensor,
    behavior_logprobs: Tensor,
    flags: Tensor,
    handling: FlaggedTokens,
    high: float,
) -> Tensor:
    """Importance weights with those of flagged tokens replaced, all `[T]`; the origin is where the ratio of the loss starts.

    train    as any other token
    correct  min(origin / behavior, high), however small: a rare token under a grammar does not mean a stale engine
    mask     0; refuse too, for what was recorded before the gateway refused it
    """
    is_flagged = (flags & int(FLAGGED)) != 0
    match handling:
        case "train":
            return weights
        case "correct":
            is_greedy = (flags & int(OutputFlags.GREEDY)) != 0
            behavior = torch.where(is_greedy, 0.0, behavior_logprobs)
            return torch.where(is_flagged, tis(origin_logprobs, behavior, high=high), weights)
        case "mask" | "refuse":
            return torch.where(is_flagged, 0.0, weights)


def count_flagged(sequences: Iterable[TokenSequence]) -> Counter[str]:
    """The number of sampled tokens with each flag; one token may have several."""
    found: Counter[str] = Counter()
    for sequence in sequences:
        for flag in FLAGGED:
            found[str(flag.name).lower()] += int(np.count_nonzero(sequence.flags & int(flag)))
    return found
