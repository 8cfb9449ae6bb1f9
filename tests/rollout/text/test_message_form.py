"""The form in which messages reach a template: arguments, results, contents and roles as it reads them."""

import copy
from pathlib import Path
from typing import Any

import pytest

from rollout.chat_template.chat_template import ChatTemplate
from rollout.chat_template.rendering import TemplateError
from rollout.chat_template.sample_chats import TOOLS
from rollout.tokenizer.tokenizer import Tokenizer
from tests.rollout import shipped_templates


def test_arguments_are_mappings_for_the_template_only(
    shipped: shipped_templates.ShippedTemplates,
) -> None:
    """A JSON string becomes a mapping, what is no object stays a string, and the caller's messages do not change."""
    template, _ = shipped.load("qwen3")

    def rendered(arguments: object) -> str:
        call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
        messages = [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
        ]
        before = copy.deepcopy(messages)
        text = template.render(messages, TOOLS, add_generation_prompt=False)
        assert messages == before
        return text.rpartition('"arguments": ')[2].partition("}\n</tool_call>")[0]

    assert rendered('{"a":1,"é":"<b>"}') == rendered({"a": 1, "é": "<b>"}) == '{"a": 1, "é": "<b>"}'
    assert rendered('{"a": ') == '{"a": '
    assert rendered("[1]") == "[1]"
    assert rendered("") == rendered(None) == "{}"
    assert rendered('{"wei":123456789012345678901}') == '{"wei": 123456789012345678901}'


Message = dict[str, Any]

NAMELESS_RESULTS = "{% for m in messages %}{{ m.content }}\n{% endfor %}"

NAMED_RESULTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{{ m.tool_calls[0].function.arguments if m.tool_calls }}"
    "{% if m.role == 'tool' %}{% if m.name is not defined %}{{ raise_exception('no name') }}{% endif %}{{ m.name }}: {{ m.content }}"
    "{% endif %}<|im_end|>\n{% endfor %}"
)

CALLED: list[Message] = [
    {"role": "user", "content": "Hi"},
    {
        "role": "assistant",
        "content": None,
        "reasoning": "Look it up.",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "price", "arguments": '{"a":1}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "33"},
]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("deepseekv3", '<｜tool▁sep｜>price\n```json\n{"a":1}\n```'),
        ("deepseek_r1_distill", '<｜tool▁sep｜>price\n```json\n{"a":1}\n```'),
        ("gptoss", "<|channel|>analysis<|message|>Look it up.<|end|><|start|>assistant to=functions.price"),
        ("qwen3", '<think>\nLook it up.\n</think>\n\n<tool_call>\n{"name": "price", "arguments": {"a": 1}}'),
    ],
)  # fmt: skip
def test_a_call_is_given_as_the_template_reads_it(
    shipped: shipped_templates.ShippedTemplates, name: str, shown: str
) -> None:
    """The form in which the template shows the call is chosen: arguments, content and reasoning in either spelling."""
    template, _ = shipped.load(name)
    assert shown in template.render(CALLED, TOOLS)


def test_what_a_template_cannot_show_together_is_not_refused(
    shipped: shipped_templates.ShippedTemplates,
) -> None:
    """gpt-oss's template raises at a thought beside text before a call; the text is what a client sees."""
    template, _ = shipped.load("gptoss")
    spoken = [CALLED[0], {**CALLED[1], "content": "One moment."}, CALLED[2]]
    assert "One moment.<|end|><|start|>assistant to=functions.price" in template.render(spoken)
    assert template.suffix(spoken, None, 2) is None


def test_a_result_is_named_where_the_template_asks_for_it(tokenizer_dir: Path) -> None:
    """OpenAI's tool messages have an id only; Hermes's template wants the function's name."""
    template = ChatTemplate(NAMED_RESULTS, Tokenizer.load(tokenizer_dir))
    assert "price: 33" in template.render(CALLED)
    nameless = ChatTemplate(NAMELESS_RESULTS, Tokenizer.load(tokenizer_dir))
    assert "name" not in nameless.form.messages(CALLED)[2]


def test_contents_become_text(shipped: shipped_templates.ShippedTemplates) -> None:
    """Null content is empty, parts are joined, and a part that is no text is refused with the remedy."""
    template, _ = shipped.load("qwen3")
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert template.render([{"role": "user", "content": parts}]) == template.render(
        [{"role": "user", "content": "ab"}]
    )
    nothing = template.render([{"role": "user", "content": None, "name": None}])
    assert nothing == template.render([{"role": "user", "content": ""}])
    with pytest.raises(TemplateError, match="text only"):
        template.render(
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
        )
    with pytest.raises(TemplateError, match="content must be"):
        template.render([{"role": "user", "content": 7}])


def test_developer_is_system_where_the_template_does_not_know_it(
    shipped: shipped_templates.ShippedTemplates,
) -> None:
    """OpenAI's newer role name reaches a model that has only the older one."""
    chat = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    template, _ = shipped.load("qwen3")
    assert template.render(chat) == template.render([{**chat[0], "role": "system"}, chat[1]])
