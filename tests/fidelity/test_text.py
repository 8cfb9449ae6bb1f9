"""Text is a lossy view of what was sampled: the next turn goes on with the ids, whatever the text would encode to."""

import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.fidelity.agent import NEXT, USER, ask, saying
from tests.fidelity.conftest import ModelWith
from tests.fidelity.received import EPISODE, assert_one_row
from tests.fidelity.recorder import Recorder
from tests.gateways import Gateway, StartGateway

pytestmark = pytest.mark.engine
TRIMMING = """
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content | trim + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

# A base model's: words stand where others have special tokens.
PLAIN = """
{%- for message in messages %}
{{- message.role + ': ' + message.content + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- 'assistant: ' }}{%- endif %}"""


async def test_ids_that_are_not_the_encoding_of_their_text_are_kept(
    served: Gateway, recorder: Recorder, tokenizer: Tokenizer
) -> None:
    """Case 1: an output in other pieces than the tokenizer's own goes on, and trains, as it was sampled."""
    text = " ".join(["melon"] * 12)  # each could have been one token, or several
    answer = await ask(served, [USER], **saying(text))
    await ask(served, [USER, answer["message"], NEXT])
    assert answer["message"]["content"] == text
    assert recorder.calls[0].ids[:-1] != tokenizer.encode(text)
    await assert_one_row(served, recorder.calls)


async def test_special_tokens_that_are_only_spelt_stay_spelt(
    served: Gateway, recorder: Recorder, tokenizer: Tokenizer
) -> None:
    """Case 1: a policy that writes the end of its turn letter by letter does not end it, then or later."""
    text = "Four.<|im_end|>\nThanks!"
    answer = await ask(served, [USER], **saying(text))
    await ask(served, [USER, answer["message"], NEXT])
    assert answer["message"]["content"] == text
    assert not tokenizer.special_ids.intersection(recorder.calls[0].ids[:-1])
    await assert_one_row(served, recorder.calls)


async def test_nothing_merges_across_the_beginning_of_an_output(
    served: Gateway, recorder: Recorder, tokenizer: Tokenizer
) -> None:
    """Case 2: the newline that ends a prompt stays apart from an output whose text would merge with it."""
    answer = await ask(served, [USER], **saying('{"name": "price", "arguments": {"item": "fig"}}'))
    await ask(served, [USER, answer["message"], NEXT])
    first = recorder.calls[0]
    whole = tokenizer.encode(tokenizer.decode(first.prompt + first.ids))
    assert whole[: len(first.prompt)] != first.prompt
    await assert_one_row(served, recorder.calls)


async def test_nothing_merges_across_the_end_of_an_output(
    start_gateway: StartGateway, recorder: Recorder, model_with: ModelWith, tokenizer: Tokenizer
) -> None:
    """Case 2: where no special token keeps an output and what follows apart, what follows is encoded alone."""
    text = '{"name": "price", "arguments": {"item": "fig"}}'
    async with start_gateway(recorder, model_dir=model_with(PLAIN)) as served:
        answer = await ask(served, [USER], **saying(text))
        await ask(served, [USER, answer["message"], NEXT])
        await assert_one_row(served, recorder.calls)
    first, second = recorder.calls
    assert tokenizer.encode(text + "\n")[:-1] != tokenizer.encode(text)
    added = second.prompt[len(first.prompt + first.ids) :]
    assert added == tokenizer.encode("\nuser: And two?\nassistant: ")


async def test_nothing_merges_across_a_prefill(
    served: Gateway, recorder: Recorder, tokenizer: Tokenizer
) -> None:
    """Case 2: what was put in the model's mouth and what it said stay apart, though together they are one token."""
    prefill = {"role": "assistant", "content": "mel"}
    answer = await ask(served, [USER, prefill], continue_final_message=True, **saying("on"))
    whole = {"role": "assistant", "content": "mel" + answer["message"]["content"]}
    await ask(served, [USER, whole, NEXT])
    assert len(tokenizer.encode("melon")) == 1
    row = await assert_one_row(served, recorder.calls)
    assert tokenizer.decode(row.tokens[row.action_mask].tolist()).startswith("on<|im_end|>")


async def test_half_a_character_is_kept_and_shown_as_a_replacement(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 3: an output cut inside a character reads as U+FFFD, which is sent back, and trains as its bytes."""
    answer = await ask(served, [USER], **(saying("née") | {"max_tokens": 2}))
    await ask(served, [USER, answer["message"], NEXT])
    assert answer["message"]["content"] == "n\N{REPLACEMENT CHARACTER}"
    await assert_one_row(served, recorder.calls)


async def test_a_stream_holds_half_a_character_back(
    served: Gateway, recorder: Recorder, tokenizer: Tokenizer
) -> None:
    """Case 3: a character whose bytes are several tokens arrives whole."""
    text = "née 한국어 🙂"
    async with served.openai() as client:
        stream = await client.chat.completions.create(
            model="policy",
            messages=[USER],
            stream=True,
            max_tokens=48,
            extra_headers={"X-Turngate-Episode": EPISODE},
            extra_body=saying(text),
        )
        deltas = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    await ask(served, [USER, {"role": "assistant", "content": "".join(deltas)}, NEXT])
    assert "".join(deltas) == text
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(deltas)
    assert "\N{REPLACEMENT CHARACTER}" in tokenizer.decode(recorder.calls[0].ids[:2])
    await assert_one_row(served, recorder.calls)


async def test_whitespace_that_a_client_trims_stays_sampled(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 13: a client that strips its history continues the output with its spaces."""
    answer = await ask(served, [USER], **saying("  Four. \n"))
    stripped = {"role": "assistant", "content": answer["message"]["content"].strip()}
    await ask(served, [USER, stripped, NEXT])
    assert answer["message"]["content"] == "  Four. \n"
    await assert_one_row(served, recorder.calls)


async def test_whitespace_that_the_template_trims_stays_sampled(
    start_gateway: StartGateway, recorder: Recorder, model_with: ModelWith
) -> None:
    """Case 13: a template that strips messages continues the output with its spaces."""
    async with start_gateway(recorder, model_dir=model_with(TRIMMING)) as served:
        answer = await ask(served, [USER], **saying("  Four. \n"))
        await ask(served, [USER, answer["message"], NEXT])
        assert answer["message"]["content"] == "  Four. \n"
        await assert_one_row(served, recorder.calls)
