"""Random episodes for properties: turns that extend, fork, repeat, cut and split, over a small vocabulary."""

from hypothesis import strategies as st

from rollout.episode.trie import Trie
from rollout.episode.turn import Anchor, OutputFlags, Turn
from tests.rollout.turns import output, turn

few_tokens = st.lists(st.integers(1, 3), max_size=5)
flags = st.sampled_from([OutputFlags.NONE, OutputFlags.NONE, OutputFlags.ABANDONED])


@st.composite
def anchors(draw: st.DrawFn, known: list[Turn]) -> Anchor | None:
    """Any place in what the turns so far have built."""
    if not known or draw(st.integers(0, 4)) == 0:
        return None
    before = draw(st.sampled_from(known))
    which = draw(st.integers(-1, len(before.outputs) - 1))
    length = len(before.context_ids) if which < 0 else before.outputs[which].num_tokens
    return Anchor(before.id, which, draw(st.integers(0, length)))


@st.composite
def episodes(draw: st.DrawFn, max_turns: int = 10) -> list[Turn]:
    """The log of an episode, in an order in which it could have been committed."""
    turns: list[Turn] = []
    for ordinal in range(draw(st.integers(1, max_turns))):
        outputs = [
            output(draw(few_tokens), version=draw(st.integers(0, 5)), flags=draw(flags))
            for _ in range(draw(st.integers(1, 3)))
        ]
        kind = draw(st.sampled_from(["train", "train", "train", "side"]))
        anchor = draw(anchors(turns))
        body = draw(st.sampled_from(["", "", "x", "y"]))
        retry_key = draw(st.sampled_from(["", "", f"joined:{body}", f"body:{body}", "key:own"]))
        made = turn(
            f"t{ordinal}",
            draw(few_tokens),
            *outputs,
            anchor=anchor,
            kind=kind,
            body=body,
            retry_key=retry_key if body else "",
        )
        turns.append(made)
    return turns


@st.composite
def rewarded(draw: st.DrawFn, turns: list[Turn]) -> set[tuple[str, int]]:
    """Some outputs that rewards name."""
    every = [(t.id, index) for t in turns for index in range(len(t.outputs))]
    return draw(st.sets(st.sampled_from(every), max_size=3))


@st.composite
def reordered(draw: st.DrawFn) -> tuple[list[Turn], list[Turn]]:
    """An episode and another order in which the same commits could have arrived."""
    turns = draw(episodes())
    waiting, arrived = list(turns), []
    while waiting:
        ids = {done.id for done in arrived}
        able = [t for t in waiting if t.anchor is None or t.anchor.turn_id in ids]
        chosen = draw(st.sampled_from(able))
        waiting.remove(chosen)
        arrived.append(chosen)
    return turns, arrived


def paths(turns: list[Turn]) -> dict[str, tuple[list[int], list[list[int]]]]:
    """By plain Python, per turn: all tokens up to the end of its context, and its outputs."""
    full: dict[str, tuple[list[int], list[list[int]]]] = {}
    for t in turns:
        way: list[int] = []
        if t.anchor is not None:
            context, outputs = full[t.anchor.turn_id]
            if t.anchor.output >= 0:
                way = context + outputs[t.anchor.output][: t.anchor.offset]
            else:
                before = next(other for other in turns if other.id == t.anchor.turn_id)
                beyond = len(before.context_ids) - t.anchor.offset
                way = context[: len(context) - beyond]
        full[t.id] = (way + t.context_ids.tolist(), [o.ids.tolist() for o in t.outputs])
    return full


def continued(turns: list[Turn]) -> set[tuple[str, int]]:
    """By plain Python, the outputs that stand whole in the prompt of a later turn that trains."""
    by_id = {t.id: t for t in turns}
    found = set()
    for t in turns:
        anchor = t.anchor if t.kind == "train" else None
        while anchor is not None:
            before = by_id[anchor.turn_id]
            if anchor.output >= 0 and anchor.offset == before.outputs[anchor.output].num_tokens > 0:
                found.add((before.id, anchor.output))
            anchor = before.anchor
    return found


def shape(trie: Trie) -> set[tuple[object, ...]]:
    """What a trie holds, token by token and without the order of its commits."""
    found = set()
    for span in trie.spans():
        way = tuple(trie.tokens(Anchor(trie.turn_at(span.turn).id, span.output, span.start)))
        for index, token in enumerate(span.tokens.tolist()):
            owner = () if span.is_context else (trie.turn_at(span.turn).id, span.output)
            found.add((*owner, way + tuple(span.tokens[:index].tolist()), token))
    return found
