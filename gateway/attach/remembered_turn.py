"""A turn as a gateway remembers it: what later calls of its episode are compared with, and nothing that only training reads."""

from sys import intern

from rollout.episode.trie import Trie
from rollout.episode.turn import Anchor, Output, Sampling, Turn


class RememberedOutput(Output, frozen=True, array_like=True, gc=False):
    """Without logprobs and versions, which would double its size. It is never stored."""

    def __post_init__(self) -> None:
        """The record that it was read from is checked."""


_USUAL = Sampling()


def remembered(turn: Turn, trie: Trie) -> Turn:
    """The turn without what its record alone has to keep; texts that turns of its trie have too are theirs."""
    anchor = turn.anchor
    if anchor is not None:
        anchor = Anchor(trie.turn(anchor.turn_id).id, anchor.output, anchor.offset)
    return Turn(
        id=turn.id,
        kind=turn.kind,
        created_ms=0,
        anchor=anchor,
        context=turn.context,
        outputs=tuple([_output(each) for each in turn.outputs]),
        forced=turn.forced,
        output_chains=turn.output_chains,
        sampling=turn.sampling if turn.sampling.stop else _USUAL,
        media=turn.media,
        keeps_messages=turn.keeps_messages,
    )


def _output(output: Output) -> RememberedOutput:
    reason = intern(output.finish_reason)
    return RememberedOutput(output.tokens, b"", (), reason, output.flags)
