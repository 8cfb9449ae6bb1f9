"""From an episode's trie to the token streams a learner consumes; pure and deterministic.

Rows are the leaves of the trie, longest first. A sampled span that several rows share trains in the first of them and is
context in the others, so that every sampled, trainable token trains exactly once.

A turn may have several outputs (`n` > 1), but the agent continues with one, and the episode's reward is for that one. An
output is TAKEN if the prompt of a later turn that trains holds all of it, or if a reward names it. If some outputs of a
turn are taken, the others do not train. If none is, the agent may have used all (a vote, for example): they all train.

Some clients repeat a call without saying so when a reply does not arrive. Turns with equal bodies are then one call of the
agent: those of which it took an output train, or that a reward names. If there is none, the last one trains. Calls with a
count of tries or a key of their own are as many calls as they say, a vote for example: they all train.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from rollout.episode.span import Place, Span, media_on, path
from rollout.episode.trie import Trie
from rollout.episode.turn import Media


class TokenSequence(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One row. All arrays have one entry per token; where the action mask is false nothing trains."""

    episode_id: str
    tokens: NDArray[np.int32]
    action_mask: NDArray[np.bool_]
    behavior_logprobs: NDArray[np.float32]  # 0 where the mask is false
    versions: NDArray[np.int32]  # policy version that sampled the token, -1 where the mask is false
    turns: NDArray[np.int32]  # ordinal of the turn that sampled the token, -1 likewise
    flags: NDArray[np.int32]  # OutputFlags of the token's output, 0 likewise
    num_unmerged: int = 0  # tokens in one row for each output that trains here to its end
    media: tuple[Media, ...] = ()  # the images of its placeholder tokens

    def __len__(self) -> int:
        return len(self.tokens)


def linearize(trie: Trie, episode_id: str = "") -> list[TokenSequence]:
    """Cut the trie into rows.

    Turns (P1, O1), (P1 O1 P2, O2), (P1 P3, O3)  ->  [P1 O1 P2 O2], [P1 P3 O3]; each O trains once, P never.
    """
    trained: dict[
        Span, int
    ] = {}  # how many tokens at the start of each span train in an earlier row
    return [row(trie, leaf, trained, episode_id=episode_id) for leaf in leaves(trie)]


def leaves(trie: Trie) -> list[Span]:
    """Trainable spans that no other trainable span continues, longest path first, then by turn."""
    found = [span for span in trie.spans() if is_trainable(trie, span)]
    continued = {
        passed for span in found for passed, end in path(Place(span, 0))[:-1] if end == len(passed)
    }
    ends = [span for span in found if span not in continued]
    return sorted(
        ends, key=lambda span: (-span.depth - len(span), trie.turn_at(span.turn).id, span.output)
    )


def is_trainable(trie: Trie, span: Span) -> bool:
    """Sampled, not empty, not abandoned, in a turn that trains, and neither passed over nor lost."""
    if span.is_context or not len(span) or trie.turn_at(span.turn).kind != "train":
        return False
    if trie.sampled(span).is_abandoned:
        return False
    return not is_passed_over(trie, span) and not is_lost(trie, span.turn)


def is_passed_over(trie: Trie, span: Span) -> bool:
    """Whether other outputs of its turn were taken and this one was not.

    Turns (P1, O1 | O2), (P1 O2 P2, O3)  ->  O1 is; with a reward for O1 it is not.
    """
    siblings = trie.outputs(span.turn)
    if len(siblings) == 1 or is_taken(trie, span):
        return False
    return any(is_taken(trie, sibling) for sibling in siblings)


def is_lost(trie: Trie, ordinal: int) -> bool:
    """Whether the agent went on with another turn whose call had the same body, and neither says whether it is a repeat.

    Turns (P1, O1), (P1, O2), (P1 O1 P2, O3)  ->  the second is; without the third turn the first is.
    """
    equal = trie.equal_turns(ordinal)
    if len(equal) < 2 or is_used(trie, ordinal):
        return False
    last = max(equal, key=lambda each: (trie.turn_at(each).created_ms, trie.turn_at(each).id))
    return ordinal != last or any(is_used(trie, other) for other in equal)


def is_used(trie: Trie, ordinal: int) -> bool:
    """Whether a reward names this turn, or one of its outputs was taken."""
    if trie.turn_at(ordinal).id in trie.rewarded_turns:
        return True
    return any(is_taken(trie, span) for span in trie.outputs(ordinal))


def is_taken(trie: Trie, span: Span) -> bool:
    """Whether a reward names this output, or a later turn that trains was prompted with all of it."""
    if (trie.turn_at(span.turn).id, span.output) in trie.rewarded:
        return True
    below = [child for child in span.children if child.offset == len(span)]
    while below:
        reached = below.pop()
        if not reached.is_context and trie.turn_at(reached.turn).kind == "train":
            return True
        below += reached.children
    return False


def row(trie: Trie, leaf: Span, trained: dict[Span, int], *, episode_id: str) -> TokenSequence:
    """The tokens from the root to a leaf; records what they train in `trained`."""
    length = leaf.depth + len(leaf)
    steps = path(Place(leaf, len(leaf)))
    fresh = [(s, end) for s, end in steps if is_trainable(trie, s) and trained.get(s, 0) < end]
    sequence = TokenSequence(
        episode_id=episode_id,
        tokens=np.empty(length, np.int32),
        action_mask=np.zeros(length, np.bool_),
        behavior_logprobs=np.zeros(length, np.float32),
        versions=np.full(length, -1, np.int32),
        turns=np.full(length, -1, np.int32),
        flags=np.zeros(length, np.int32),
        num_unmerged=sum(span.depth + end for span, end in fresh if end == len(span)),
        media=tuple(media_on(steps)),
    )
    for span, end in steps:
        sequence.tokens[span.depth : span.depth + end] = span.tokens[:end]
    for span, end in fresh:
        fill(sequence, trie, span, trained.get(span, 0), end)
        trained[span] = end
    return sequence


def fill(sequence: TokenSequence, trie: Trie, span: Span, start: int, end: int) -> None:
    """Make tokens [start, end) of a sampled span train in this row."""
    output = trie.sampled(span)
    here = slice(span.depth + start, span.depth + end)
    sequence.action_mask[here] = True
    sequence.behavior_logprobs[here] = output.behavior_logprobs[start:end]
    sequence.turns[here] = span.turn
    sequence.flags[here] = output.flags
    for interval in output.versions:
        first, last = max(interval.start, start), min(interval.end, end)
        if first < last:
            sequence.versions[span.depth + first : span.depth + last] = interval.version
