"""Pure parts of the gateway, over all inputs that hypothesis can think of."""

import json
from copy import copy
from functools import partial
from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.attach.episode_histories import EpisodeHistories
from gateway.attach.prompt_encoder import PromptEncoder
from gateway.parsing.stop_text import StopText
from gateway.request.conversation_hash import (
    LONG,
    Chain,
    assistant_message,
    print_of,
    projection,
)
from gateway.request.messages import Item, MessageReader
from gateway.request.request import ToolCall
from gateway.request.tools import seed
from rollout.episode.episode_records import EpisodeHeader, parse_header
from rollout.episode.turn import encode_turn
from rollout.tokenizer.tokenizer import Tokenizer
from tests.rollout.turns import output, turn

WORDS = st.text(alphabet="abSTOP ", max_size=40)
STOPS = st.lists(st.text(alphabet="abSTOP", min_size=1, max_size=5), max_size=3).map(tuple)


@given(text=WORDS, stop=STOPS, cuts=st.lists(st.integers(0, 40), max_size=8))
def test_stop_text_is_the_text_before_the_first_stop(
    text: str, stop: tuple[str, ...], cuts: list[int]
) -> None:
    """However a text is cut, what passes is what comes before the first stop string, once that string is complete."""
    bounds = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    passing = StopText(stop)
    shown = "".join(passing.push(text[a:b]) for a, b in pairwise(bounds))
    shown += passing.finish()
    ends = [end for end in range(len(text) + 1) if any(text[:end].endswith(s) for s in stop)]
    if not ends:
        assert (shown, passing.is_stopped) == (text, False)
        return
    assert passing.is_stopped
    complete = [s for s in stop if text[: ends[0]].endswith(s)]
    assert shown == text[: ends[0] - max(map(len, complete))]


@given(WORDS, st.text(max_size=20), st.dictionaries(st.text(max_size=5), st.integers()))
def test_rewriting_by_clients_keeps_a_message_the_same(
    content: str, id_: str, arguments: dict[str, int]
) -> None:
    """Tool-call ids, JSON spelling, whitespace at the ends and dropped reasoning do not change what a message is."""
    sampled = ToolCall("call_1", "price", json.dumps(arguments, indent=2))
    echoed = ToolCall(id_, "price", json.dumps(dict(reversed(arguments.items()))))
    before = assistant_message(content, "because", [sampled])
    after = assistant_message(f"\n{content}  ", None, [echoed])
    assert projection(before) == projection(after)


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), WORDS), max_size=6))
def test_a_chain_depends_on_everything_before_it(messages: list[tuple[str, str]]) -> None:
    """Conversations share a hash exactly as far as they share their messages, and none across different tools."""
    said = [{"role": role, "content": content} for role, content in messages]
    prints = [print_of(message) for message in said]
    one, other = (Chain(seed(*parts), prints) for parts in ((b"a", b"b"), (b"ab", b"")))
    hashes = {one.after(length) for length in range(len(said) + 1)}
    assert len(hashes) == len(said) + 1
    long = Chain(one.start, prints * LONG)
    after = long.cached_after()
    assert all(after(length) == long.after(length) for length in range(len(said) + 1))
    assert after(len(long.prints)) == long.end
    assert not hashes & {other.after(length) for length in range(len(said) + 1)}
    if said:
        assert Chain(one.start, prints[:-1]).extended(said[-1]) == one.end


@given(st.lists(WORDS, min_size=1, max_size=8), st.slices(8), st.integers(1, 8))
def test_a_message_met_before_is_read_only_where_somebody_looks(
    contents: list[str], window: slice, capacity: int
) -> None:
    """The second request has the prints of the first, and of its messages only those in the window are read, once each."""
    raws = [msgspec.Raw(json.dumps({"role": "user", "content": text})) for text in contents]
    read: list[str] = []

    def reading(raw: msgspec.Raw, where: str) -> Item:
        read.append(where)
        return Item([msgspec.json.decode(raw, type=dict)])

    reader = MessageReader(reading, capacity=capacity)
    first = reader.read(raws).prints
    read.clear()
    again, prints, *_ = reader.read(raws)
    assert prints == first
    assert {message["role"] for message in again} == {"user"}
    if len(set(contents)) <= capacity:
        assert read == []
    read.clear()
    assert [m["content"] for m in [*again[window], *again[window]]] == contents[window] * 2
    assert len(read) == len(set(read))


def test_a_history_that_lost_its_beginning_is_read_again() -> None:
    """Turns are added only after those they follow, whatever was dropped or read in between."""
    log = [encode_turn(turn(f"t{n}", [n], output([n]))) for n in range(6)]
    histories = EpisodeHistories(1, count_read=lambda _: None)  # one byte: only the latest stays
    header = opened("ep_1", created_ms=1, num_turns=len(log))
    read = partial(histories.bring_up_to_date, "project", header)
    assert read(since=0, turns=log[:5]) is not None
    histories.bring_up_to_date("project", opened("ep_2", created_ms=1), since=0, turns=[])
    early = read(since=0, turns=log[:3])  # it began before the others were committed
    assert early is not None
    assert read(since=5, turns=log[5:]) is None
    whole = read(since=0, turns=log)
    assert whole is early
    assert [t.id for t in whole.trie.turns] == [f"t{n}" for n in range(6)]
    another = opened("ep_1", created_ms=2)
    assert histories.bring_up_to_date("project", another, since=6, turns=[]) is None


async def test_pieces_encode_as_the_whole(tokenizer: Tokenizer) -> None:
    """A prompt that is cut after its end-of-turn tokens has the ids of the whole, from the cache too."""
    end = "<|im_end|>"
    roomy = copy(tokenizer)
    roomy.context_length = 1_000_000
    encoder = PromptEncoder(roomy, end)
    body = "  A sentence that is long enough to be remembered, naïve 🙂 \n\n and so on. " * 2
    texts = [
        "",
        end,
        "short",
        body,
        f"{body}{end}{body}{end}",
        f"{end}{end}\n{body}",
        f"{body}{end}x",
        f"{body * 2000}{end}{body * 1500}",  # on a thread
    ]
    for text in texts * 2:
        assert (await encoder.encode(text)).tolist() == tokenizer.encode(text)


def opened(episode_id: str, *, created_ms: int, num_turns: int = 0) -> EpisodeHeader:
    """What the store says of an open episode."""
    fields = {0: episode_id, 1: "open", 7: str(created_ms), 10: str(num_turns)}
    return parse_header([fields[n].encode() if n in fields else None for n in range(22)])
