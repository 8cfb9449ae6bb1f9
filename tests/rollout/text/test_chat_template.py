"""Prompts equal Hugging Face's in every character, and a suffix continues a prompt in every token."""

import json
import logging
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.chat_template.chat_template import ChatTemplate, encode_chat
from rollout.chat_template.rendering import TemplateError
from rollout.chat_template.sample_chats import ONE_CALL_EACH, PARALLEL_CALLS, TOOLS
from rollout.tokenizer.model_directory import ModelDirectoryError
from rollout.tokenizer.tokenizer import Tokenizer
from tests.profiles import examples
from tests.rollout import shipped_templates
from tests.rollout.conversations import conversations

Message = dict[str, Any]
FIXTURES = settings(examples(0.1), suppress_health_check=[HealthCheck.too_slow])


def render_or_error(render: Any) -> str | None:
    try:
        text: str = render()
    except (TemplateError, jinja2.TemplateError, TypeError, ValueError):
        return None
    return text


@pytest.mark.parametrize("name", shipped_templates.names())
@FIXTURES
@given(
    conversation=conversations(),
    prompt=st.booleans(),
    thinking=st.sampled_from([None, True, False]),
)
def test_text_equals_transformers(
    shipped: shipped_templates.ShippedTemplates,
    name: str,
    conversation: tuple[list[Message], list[Any] | None],
    prompt: bool,
    thinking: bool | None,
) -> None:
    """For any conversation the text equals that of `apply_chat_template`, for what is repaired after the repair."""
    messages, tools = conversation
    template, tokenizer = shipped.load(name)
    extra = {} if thinking is None else {"enable_thinking": thinking}
    oracle = shipped_templates.hugging_face_template(shipped_templates.source(name))
    adapted = template.adapted(messages)
    context = {
        **tokenizer.special_tokens,
        **extra,
        "messages": adapted.messages if adapted.notes else template.form.messages(messages),
        "tools": tools,
        "documents": None,
        "add_generation_prompt": prompt,
    }
    expected = render_or_error(lambda: oracle.render(context))
    actual = render_or_error(
        lambda: template.render(messages, tools, add_generation_prompt=prompt, extra=extra)
    )
    assert actual == expected


@pytest.mark.parametrize("name", shipped_templates.names())
@FIXTURES
@given(conversation=conversations())
def test_suffix_completes_the_prompt(
    shipped: shipped_templates.ShippedTemplates,
    name: str,
    conversation: tuple[list[Message], list[Any] | None],
) -> None:
    """Prompt, output, end of turn and suffix join to the whole text, and their ids to the ids of the whole."""
    messages, tools = conversation
    template, tokenizer = shipped.load(name)
    whole = render_or_error(lambda: template.render(messages, tools))
    for start in range(1, len(messages) + 1 if whole is not None else 1):
        if messages[start - 1]["role"] != "assistant":
            continue
        boundary = template.suffix(messages, tools, start)
        if boundary is None or not boundary.is_exact:
            continue
        begun = template.render(messages[: start - 1], tools) + boundary.output
        assert begun + boundary.end_of_turn + boundary.suffix == whole
        pieces = (begun, boundary.end_of_turn, boundary.suffix)
        assert [token for piece in pieces for token in tokenizer.encode(piece)] == tokenizer.encode(
            whole
        )


COMMON = (
    "qwen2",
    "qwen3_i",
    "qwen3_t",
    "qwen3_vl",
    "llama3",
    "phi",
    "glm4moe",
    "gemma3",
    "cohere",
)


@pytest.mark.parametrize(
    "name", [n for n in shipped_templates.names() if n.startswith(COMMON) or n == "qwen3"]
)
def test_plain_turns_never_branch(shipped: shipped_templates.ShippedTemplates, name: str) -> None:
    """Text turns without reasoning are continued from stored ids in the common families."""
    template, _ = shipped.load(name)
    turns = [
        {"role": role, "content": f"Say {i}."} for i in range(4) for role in ("user", "assistant")
    ]
    messages = [*turns, {"role": "user", "content": "And now?"}]
    for start in (2, 4, 6, 8):
        assert template.suffix(messages[: start + 1], None, start) is not None


@pytest.mark.parametrize(
    "name",
    [
        "qwen2_5",
        "qwen3",
        "qwen3_instruct_2507",
        "qwen3_6",
        "llama3_1",
        "llama3_2",
        "glm4moe",
        "gptoss",
    ],
)
def test_tool_loops_never_branch(shipped: shipped_templates.ShippedTemplates, name: str) -> None:
    """Within a tool loop every turn continues from stored ids."""
    template, _ = shipped.load(name)
    for start in (2, 4, 6):
        assert template.suffix(ONE_CALL_EACH[: start + 1], TOOLS, start) is not None


def test_stripped_reasoning_branches(shipped: shipped_templates.ShippedTemplates) -> None:
    """Qwen3 drops reasoning after a new question, so the prompt no longer shows the stored output."""
    template, _ = shipped.load("qwen3")
    in_the_loop = PARALLEL_CALLS[:6]
    assert template.suffix(in_the_loop, TOOLS, 5) is not None
    after_the_user_spoke = PARALLEL_CALLS[:10]
    assert template.suffix(after_the_user_spoke, TOOLS, 9) is None


def test_a_dropped_thought_of_the_last_output_branches(
    shipped: shipped_templates.ShippedTemplates,
) -> None:
    """Reasoning that the client returns and the template omits is a change of history."""
    template, _ = shipped.load("qwen3")
    chat = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi.", "reasoning": "Greet."},
        {"role": "user", "content": "And?"},
    ]
    assert template.suffix(chat, None, 2) is None
    del chat[1]["reasoning"]
    boundary = template.suffix(chat, None, 2)
    assert boundary is not None
    assert boundary.output == "Hi."


def test_a_turn_costs_what_it_adds(shipped: shipped_templates.ShippedTemplates) -> None:
    """After a hundred turns only the system message, the last question, the output and the new messages are read."""

    class Watched(dict[str, Any]):
        def items(self) -> Any:
            read.append(self["content"])
            return super().items()

    read: list[str] = []
    template, _ = shipped.load("qwen3")
    call = {"type": "function", "function": {"name": "price", "arguments": '{"item": "melon"}'}}
    messages: list[Message] = [
        Watched(role="system", content="S"),
        Watched(role="user", content="U"),
    ]
    for turn in range(100):
        messages.append(Watched(role="assistant", content=f"A{turn}", tool_calls=[call]))
        messages.append(Watched(role="tool", content=f"T{turn}"))
    assert template.suffix(messages, TOOLS, len(messages) - 1) is not None
    assert set(read) == {"S", "U", "A99", "T99"}


def test_bridge_closes_what_was_cut_and_drops_what_is_there(
    shipped: shipped_templates.ShippedTemplates,
) -> None:
    """A cut turn gets its end injected; an end that opens the next message as well is not repeated."""
    chat = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "And?"},
    ]
    qwen, tokenizer = shipped.load("qwen3")
    boundary = qwen.suffix(chat, None, 2)
    assert boundary is not None
    rest = tokenizer.encode("\n<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n")
    end = tokenizer.token_id("<|im_end|>")
    assert end is not None
    ended, cut = qwen.bridge(boundary, end), qwen.bridge(boundary, tokenizer.encode("Hi")[-1])
    assert ended == rest
    assert cut == [end, *rest]

    glm, tokenizer = shipped.load("glm4moe")
    boundary = glm.suffix(chat, None, 2)
    opener = tokenizer.token_id("<|user|>")
    assert boundary is not None
    assert opener is not None
    assert boundary.end_of_turn == ""
    rest = tokenizer.encode("\nAnd?<|assistant|>")
    assert glm.bridge(boundary, opener) == rest
    assert glm.bridge(boundary, tokenizer.encode("Hi")[-1]) == [opener, *rest]


def test_a_turn_ends_with_what_ends_generation(shipped: shipped_templates.ShippedTemplates) -> None:
    """Command R closes the response and then the turn; the next message begins after both."""
    template, tokenizer = shipped.load("cohere2")
    chat = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "And?"},
    ]
    boundary = template.suffix(chat, None, 2)
    assert boundary is not None
    assert boundary.end_of_turn == template.end_of_turn == "<|END_OF_TURN_TOKEN|>"
    assert boundary.output.endswith("Hi<|END_RESPONSE|>")
    assert tokenizer.token_id(boundary.end_of_turn) in tokenizer.eos_ids


def test_what_a_template_refuses_is_its_own_message(
    shipped: shipped_templates.ShippedTemplates, tokenizer_dir: Path
) -> None:
    """`raise_exception` reaches the caller as it is written in the template; any other failure is named as one of it."""
    picture = [{"role": "system", "content": [{"type": "image"}]}, {"role": "user", "content": ""}]
    qwen, _ = shipped.load("qwen3_6")
    with pytest.raises(TemplateError, match=r"^System message cannot contain images\.$"):
        qwen.render(picture, None)
    broken = ChatTemplate(
        "{% for m in messages %}{{ m.content.a.b if m.content == 'x' else m.content }}{% endfor %}",
        Tokenizer.load(tokenizer_dir),
    )
    with pytest.raises(TemplateError, match="rejects these messages"):
        broken.render([{"role": "user", "content": "x"}], None)


@pytest.mark.parametrize("name", ["qwen3", "llama3_1", "phi3"])
def test_a_final_message_can_be_continued(
    shipped: shipped_templates.ShippedTemplates, name: str
) -> None:
    """With `continue_final_message` the text ends after the assistant's words, trimmed if the template trims."""
    template, _ = shipped.load(name)
    chat = [{"role": "user", "content": "Count"}, {"role": "assistant", "content": "One, two, "}]
    text = template.render(chat, continue_final_message=True)
    assert text.endswith("One, two," if name == "llama3_1" else "One, two, ")
    assert template.render(chat, add_generation_prompt=False).startswith(text)
    with pytest.raises(TemplateError, match="no final message"):
        template.render([], continue_final_message=True)


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "llama3_1", "glm4moe", "phi3"])
def test_supervised_chats_are_encoded_as_turns_would_be(
    shipped: shipped_templates.ShippedTemplates, name: str
) -> None:
    """Sampled pieces are the outputs up to their end of turn, and all pieces together spell the conversation."""
    template, tokenizer = shipped.load(name)
    messages = [m for m in ONE_CALL_EACH if "Thanks" not in m["content"]]
    tools = None if name == "phi3" else TOOLS
    ids, mask = encode_chat(template, tokenizer, messages, tools)
    text = template.render(messages, tools, add_generation_prompt=False)
    assert tokenizer.decode(ids) == text
    assert len(ids) == len(mask)
    bounds = [i for i in range(1, len(ids)) if mask[i] and not mask[i - 1]]
    assert len(bounds) == sum(message["role"] == "assistant" for message in messages)
    for begin, message_index in zip(
        bounds, [i for i, m in enumerate(messages) if m["role"] == "assistant"], strict=True
    ):
        prompt = template.render(messages[:message_index], tools)
        assert tokenizer.decode(ids[:begin]) == prompt
        end = next((i for i in range(begin, len(ids)) if not mask[i]), len(ids))
        assert ids[end - 1] in tokenizer.eos_ids or (name, end) == ("glm4moe", len(ids))


def test_a_chat_without_a_trainable_output_is_refused(
    shipped: shipped_templates.ShippedTemplates,
) -> None:
    """A conversation from which nothing can be learned is an error, not a row of zeros."""
    template, tokenizer = shipped.load("qwen3")
    with pytest.raises(TemplateError, match="no assistant message"):
        encode_chat(template, tokenizer, [{"role": "user", "content": "Hi"}])


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize(
    "chat_template",
    [CHATML, [{"name": "tool_use", "template": "no"}, {"name": "default", "template": CHATML}]],
)
def test_the_template_may_stand_in_the_tokenizer_config(
    tokenizer_dir: Path, tmp_path: Path, chat_template: Any
) -> None:
    """Older models keep the template there, as a string or as a list of named ones with a default."""
    for path in tokenizer_dir.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = {"eos_token": {"content": "<|im_end|>"}, "chat_template": chat_template}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    template = ChatTemplate.load(tmp_path, Tokenizer.load(tmp_path))
    assert template.source == CHATML
    assert (
        template.render([{"role": "user", "content": "Hi"}])
        == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_missing_template_is_named(tokenizer_dir: Path) -> None:
    """The error says what to add."""
    with pytest.raises(ModelDirectoryError, match=r"add chat_template\.jinja"):
        ChatTemplate.load(tokenizer_dir, Tokenizer.load(tokenizer_dir))


def test_a_template_that_does_not_compile_is_named(tokenizer_dir: Path) -> None:
    """A syntax error is found when the model is loaded."""
    with pytest.raises(TemplateError, match="does not compile"):
        ChatTemplate("{% for %}", Tokenizer.load(tokenizer_dir))


def test_where_the_engines_differ_jinja2_renders(
    tokenizer_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A template on which minijinja gives another text is rendered by jinja2, and the log says so."""
    with caplog.at_level(logging.WARNING):
        template = ChatTemplate(
            CHATML + "{{ (messages | length | string).zfill(3) }}",
            Tokenizer.load(tokenizer_dir),
        )
    assert [record.message for record in caplog.records] == ["chat template falls back to jinja2"]
    assert template.render([{"role": "user", "content": "Hi"}]).endswith("001")
