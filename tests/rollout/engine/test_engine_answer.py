"""An answer adds up however it is cut into events, and one that contradicts itself is refused."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.engine.errors import EngineAborted, EngineError, EngineGarbled, EngineRejected
from rollout.engine.generation import Chunk
from rollout.engine.sglang.answer import Answer, policy_version
from rollout.episode.turn import VersionInterval

TOKENS = st.lists(st.integers(0, 1000), min_size=1, max_size=30)


def _event(ids: list[int], shown: int, end: int, **meta: Any) -> bytes:
    """An event that shows tokens [shown, end) of `ids`."""
    logprobs = [[-token / 7, token, None] for token in ids[shown:end]]
    whole = {"completion_tokens": end, "output_token_logprobs": logprobs, "weight_version": "3"}
    return json.dumps({"output_ids": ids[shown:end], "meta_info": whole | meta}).encode()


def _fold(chunks: list[Chunk]) -> tuple[list[int], list[float]]:
    ids = [token for chunk in chunks for token in chunk.ids]
    return ids, [logprob for chunk in chunks for logprob in chunk.logprobs]


@given(ids=TOKENS, data=st.data())
def test_any_cut_into_events_gives_the_same_answer(ids: list[int], data: st.DataObject) -> None:
    """Events may show only new tokens, all tokens so far or anything between."""
    ends = sorted({*data.draw(st.lists(st.integers(1, len(ids)))), len(ids)})
    answer, chunks, start = Answer("e"), [], 0
    for end in ends:
        meta = {"finish_reason": {"type": "length"}} if end == len(ids) else {}
        answer.add(_event(ids, data.draw(st.integers(0, start)), end, **meta))
        chunks.append(answer.take())
        start = end

    assert _fold(chunks) == (ids, [-token / 7 for token in ids])
    assert _fold([answer.partial]) == _fold(chunks)
    assert answer.is_finished
    assert chunks[-1].versions == (VersionInterval(3, 0, len(ids)),)


def test_a_plain_logprob_never_stands_for_one_under_truncation() -> None:
    """Asked for the logprobs of a truncated distribution, an engine that gives only plain ones is refused."""
    answer = Answer("e", needs_sampling_logprobs=True)
    with pytest.raises(EngineGarbled, match="no sampling logprobs"):
        answer.add(_event([1, 2], 0, 2))

    assert answer.partial.ids == []
    answer.add(_event([1, 2], 0, 2, output_token_sampling_logprobs=[-0.5, -0.25]))
    assert answer.partial.sampling_logprobs == [-0.5, -0.25]


@pytest.mark.parametrize("read", [None, [1, 5, 2], [1, 5, 5, 5, 2]])
def test_a_prompt_that_the_engine_expanded_otherwise_is_refused(read: list[int] | None) -> None:
    """Nothing that was sampled after another prompt than the recorded one is taken in."""
    event = json.loads(_event([8, 9], 0, 2)) | {"prompt_token_ids": read}
    answer = Answer("e", expanded_ids=[1, 5, 5, 2])
    with pytest.raises(EngineGarbled, match="another prompt of the images"):
        answer.add(json.dumps(event).encode())
    assert answer.partial.ids == []


def test_an_abort_that_repeats_the_last_token_adds_none() -> None:
    """SGLang shows the last token again when it aborts a request that waits, with every logprob."""
    ids = [5, 6, 7]
    answer = Answer("e")
    answer.add(_event(ids, 0, 3))
    repeated = json.loads(_event(ids, 0, 3, finish_reason={"type": "abort", "message": "waiting"}))
    repeated["output_ids"] = [7]

    with pytest.raises(EngineAborted, match="waiting") as raised:
        answer.add(json.dumps(repeated).encode())

    assert raised.value.partial is not None
    assert raised.value.partial.ids == ids


def test_the_versions_of_the_last_event_are_the_truth() -> None:
    """Until it comes each token has the version its event named."""
    answer = Answer("e")
    answer.add(_event([1, 2, 3], 0, 1))
    answer.add(_event([1, 2, 3], 1, 2, weight_version="4"))
    assert answer.partial.versions == (VersionInterval(3, 0, 1), VersionInterval(4, 1, 2))

    spans = [{"version": "3", "start": 0, "end": 2}, {"version": "5", "start": 2, "end": 3}]
    answer.add(_event([1, 2, 3], 2, 3, weight_versions=spans, finish_reason={"type": "stop"}))

    assert answer.take().versions == (VersionInterval(3, 0, 2), VersionInterval(5, 2, 3))


@pytest.mark.parametrize(
    ("meta", "complaint"),
    [
        ({"output_token_logprobs": [[-1.0, 1, None]]}, "1 logprobs for 2 ids"),
        ({"output_token_logprobs": [[-1.0, 1, None], [-1.0, 9, None]]}, "of other tokens"),
        ({"output_token_logprobs": [[-1.0, 1, None], [None, 2, None]]}, "null"),
        ({"completion_tokens": 4}, "up to token 4"),
        ({"completion_tokens": 1}, "up to token 1"),
        ({"weight_versions": [{"version": "1", "start": 0, "end": 1}]}, "do not cover"),
        ({"weight_versions": [{"version": "1", "start": 1, "end": 2}]}, "do not cover"),
        ({"output_token_sampling_logprobs": [-1.0]}, "1 extra logprobs"),
        ({"output_top_logprobs": [[[-1.0, 1, None]]]}, "1 extra logprobs"),
    ],
)
def test_an_answer_that_contradicts_itself_is_refused(meta: dict[str, Any], complaint: str) -> None:
    """A missing logprob, a gap in tokens or versions, is never filled in."""
    whole = {"finish_reason": {"type": "stop"}} | meta
    with pytest.raises(EngineGarbled, match=complaint) as raised:
        Answer("e").add(_event([1, 2], 0, 2, **whole))
    assert_consistent(raised.value.partial)


def assert_consistent(partial: Chunk | None) -> None:
    """Each token of a partial answer has its logprob and its version, so that another engine can go on."""
    assert partial is not None
    number = len(partial.ids)
    assert len(partial.logprobs) == number
    assert sum(v.end - v.start for v in partial.versions) == number
    for extra in (partial.top_logprobs, partial.sampling_logprobs):
        assert extra is None or len(extra) == number


def test_extra_logprobs_come_for_every_token_or_for_none() -> None:
    """An event that leaves them out where others had them is refused, and what came before stands."""
    answer = Answer("e")
    answer.add(_event([1, 2], 0, 1, output_token_sampling_logprobs=[-0.5]))
    with pytest.raises(EngineGarbled, match="only some tokens") as raised:
        answer.add(_event([1, 2], 1, 2))
    assert_consistent(raised.value.partial)
    assert raised.value.partial.ids == [1]


@pytest.mark.parametrize("token", [-1, 10])
def test_a_sampled_id_outside_the_vocabulary_is_refused(token: int) -> None:
    """Kept, it would be sent back with the next prompt."""
    answer = Answer("e", vocab_size=10)
    answer.add(_event([9, token], 0, 1))
    with pytest.raises(EngineGarbled, match="outside the vocabulary of 10") as raised:
        answer.add(_event([9, token], 1, 2))
    assert raised.value.partial.ids == [9]


@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b"{}", b'{"meta_info": {}}', b"\xff"])
def test_garbage_is_named_as_such(data: bytes) -> None:
    """Whatever else arrives is EngineGarbled and shows what came."""
    with pytest.raises(EngineGarbled, match="engine e"):
        Answer("e").add(data)


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"error": {"message": "too long", "code": 400}}, EngineRejected),
        ({"error": "unknown field"}, EngineRejected),
        ({"error": {"message": "out of memory", "code": 500}}, EngineAborted),
    ],
)
def test_an_error_event_says_whose_fault_it_is(
    event: dict[str, Any], kind: type[EngineError]
) -> None:
    """A request at fault is rejected; a failure inside the engine may go better elsewhere."""
    answer = Answer("e")
    with pytest.raises(kind):
        answer.add(msgspec.json.encode(event))
    assert answer.is_finished


def test_weights_that_nobody_named_are_version_zero() -> None:
    """SGLang calls the weights it starts with by a name that is no number."""
    assert [policy_version(name) for name in ("default", "", "0", "12")] == [0, 0, 0, 12]
