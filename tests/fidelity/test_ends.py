"""How an output ends: the stop token trains where it was sampled, and what the template adds to it is context."""

import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.fidelity.agent import NEXT, USER, ask, saying
from tests.fidelity.conftest import ModelWith
from tests.fidelity.received import EPISODE, assert_exact, assert_one_row
from tests.fidelity.recorder import Recorder
from tests.gateways import Gateway, StartGateway

pytestmark = pytest.mark.engine
# As GLM's: a message is closed by what opens the next one.
OPENERS = """
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""


async def test_a_newline_after_the_end_of_turn_is_context(
    served: Gateway, recorder: Recorder, tokenizer: Tokenizer
) -> None:
    """Case 4: the end token is not in the text and trains; the newline that the template puts after it does not."""
    answer = await ask(served, [USER], **saying("Four."))
    await ask(served, [USER, answer["message"], NEXT])
    row = await assert_one_row(served, recorder.calls)
    first, second = recorder.calls
    end = len(first.prompt + first.ids)
    assert answer["message"]["content"] == "Four."
    assert tokenizer.decode(row.tokens[end - 1 : end + 2].tolist()) == "<|im_end|>\n<|im_start|>"
    assert row.action_mask[end - 1]
    assert not row.action_mask[end : len(second.prompt)].any()


async def test_a_stop_token_that_opens_the_next_message_stands_once(
    start_gateway: StartGateway, recorder: Recorder, model_with: ModelWith, tokenizer: Tokenizer
) -> None:
    """Case 5: a sampled opener trains, and the next message does not open again."""
    opener = tokenizer.encode("<|im_start|>")[0]
    model_dir = model_with(OPENERS, ends=("<|im_start|>", "<|im_end|>"))
    async with start_gateway(recorder, model_dir=model_dir) as served:
        answer = await ask(
            served, [USER], stop_token_ids=[opener], logit_bias={str(opener): 20}, min_tokens=4
        )
        await ask(served, [USER, answer["message"], NEXT])
        row = await assert_one_row(served, recorder.calls)
    first, second = recorder.calls
    end = len(first.prompt + first.ids)
    rest = "user\nAnd two?<|im_start|>assistant\n"
    assert first.ids[-1] == opener
    assert row.action_mask[end - 1]
    assert tokenizer.decode(second.prompt[end:]) == rest
    assert not row.action_mask[end : len(second.prompt)].any()


async def test_an_opener_that_was_not_sampled_is_context(
    start_gateway: StartGateway, recorder: Recorder, model_with: ModelWith, tokenizer: Tokenizer
) -> None:
    """Case 5: after an output that was cut, the opener of the next message is context like the rest of it."""
    opener = tokenizer.encode("<|im_start|>")[0]
    model_dir = model_with(OPENERS, ends=("<|im_start|>", "<|im_end|>"))
    async with start_gateway(recorder, model_dir=model_dir) as served:
        answer = await ask(
            served, [USER], min_tokens=6, max_tokens=6, logit_bias={str(opener): -100}
        )
        await ask(served, [USER, answer["message"], NEXT])
        await assert_one_row(served, recorder.calls)
    first, second = recorder.calls
    added = second.prompt[len(first.prompt + first.ids) :]
    assert tokenizer.decode(added) == "<|im_start|>user\nAnd two?<|im_start|>assistant\n"


async def test_the_end_of_a_cut_turn_is_context(
    served: Gateway, recorder: Recorder, tokenizer: Tokenizer
) -> None:
    """Case 6: a turn cut by length is flagged, and the end token it lacks is added without being trained."""
    answer = await ask(served, [USER], min_tokens=8, max_tokens=8)
    await ask(served, [USER, answer["message"], NEXT])
    row = await assert_one_row(served, recorder.calls)
    first, second = recorder.calls
    end = len(first.prompt + first.ids)
    view = await served.admin.get(f"/v1/episodes/{EPISODE}", params={"view": "tokens"})
    spans = view.json()["data"]
    assert answer["finish_reason"] == "length"
    assert [span["flags"] for span in spans[1:3]] == [["truncated"], ["injected_eos"]]
    assert [span["kind"] for span in spans[1:3]] == ["sampled", "context"]
    assert second.prompt[end] in tokenizer.eos_ids
    assert not row.action_mask[end : len(second.prompt)].any()


async def test_a_cut_turn_is_continued_where_it_was_cut(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 6: a client that has its own cut answer continued gets the ids continued, and both parts train."""
    cut = (await ask(served, [USER], min_tokens=8, max_tokens=8))["message"]
    more = (await ask(served, [USER, cut], continue_final_message=True))["message"]
    whole = {"role": "assistant", "content": cut["content"] + more["content"]}
    await ask(served, [USER, whole, NEXT])
    await assert_one_row(served, recorder.calls)
    first, second, _ = recorder.calls
    assert second.prompt == first.prompt + first.ids


async def test_a_stop_string_is_sampled_but_not_shown(
    served: Gateway, recorder: Recorder, tokenizer: Tokenizer
) -> None:
    """Case 7: the text ends before the stop string; the ids go to its end, train, and are gone on with."""
    said = saying("I look it up.\nObservation: four")
    answer = await ask(served, [USER], stop=["Observation:"], **said)
    await ask(served, [USER, answer["message"], NEXT])
    first = recorder.calls[0]
    assert answer["message"]["content"] == "I look it up.\n"
    assert "Observation:" in tokenizer.decode(first.ids)
    await assert_one_row(served, recorder.calls)


async def test_another_answer_than_the_trimmed_one_branches(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 7: only the text that was shown stands for ids that go beyond it; less of it is an edit."""
    answer = await ask(served, [USER], stop=["Obs"], **saying("I look it up.\nObs"))
    edited = {"role": "assistant", "content": answer["message"]["content"][:6]}
    await ask(served, [USER, edited, NEXT])
    assert len(await assert_exact(served, recorder.calls)) == 2
