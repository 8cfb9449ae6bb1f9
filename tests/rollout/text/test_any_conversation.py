"""Whatever an agent sends as its history, each template shows it, and says what it had to change."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from rollout.chat_template.sample_chats import CONVERSATIONS
from tests.profiles import examples
from tests.rollout import shipped_templates
from tests.rollout.odd_conversations import odd_conversations

FIXTURES = settings(examples(0.3), suppress_health_check=[HealthCheck.too_slow])
ASK = {"role": "user", "content": "What does it cost?"}
TOOLS = [{"type": "function", "function": {"name": "price", "parameters": {"type": "object"}}}]


@pytest.mark.parametrize("name", shipped_templates.names())
@FIXTURES
@given(conversation=odd_conversations())
def test_any_conversation_is_shown(
    shipped: shipped_templates.ShippedTemplates,
    name: str,
    conversation: tuple[list[dict[str, Any]], list[Any] | None],
) -> None:
    """No order of roles, no arguments, ids or tools are refused, and no instruction, question or result is left out."""
    messages, tools = conversation
    template, _ = shipped.load(name)
    prompt = template.prompt(messages, tools)
    words = [each["content"] for each in messages if each["role"] != "assistant"]
    assert [word for word in words if word not in prompt.text] == []


@pytest.mark.parametrize("name", shipped_templates.names())
def test_a_common_conversation_is_not_changed(
    shipped: shipped_templates.ShippedTemplates, name: str
) -> None:
    """A repair is used only where the template refuses or leaves out something."""
    template, _ = shipped.load(name)
    plain, *_ = CONVERSATIONS
    assert template.adapted(plain[0]).notes == ()


def _calling(arguments: str, id_: str = "c00000000") -> list[dict[str, Any]]:
    function = {"name": "price", "arguments": arguments}
    call = {"id": id_, "type": "function", "function": function}
    answer = {"role": "assistant", "content": None, "tool_calls": [call]}
    return [ASK, answer, {"role": "tool", "tool_call_id": id_, "content": "33"}]


@pytest.mark.parametrize("arguments", ['{"item": "mel', '["mel"]', '"mel"', "3"])
def test_arguments_that_are_no_object_are_shown_in_one(
    shipped: shipped_templates.ShippedTemplates, arguments: str
) -> None:
    """A template that needs an object is shown one that holds what was given; a note says so."""
    template, _ = shipped.load("qwen3_8")
    prompt = template.prompt(_calling(arguments), TOOLS)
    shown = prompt.text.partition("<parameter=arguments>\n")[2].partition("\n</parameter>")[0]
    assert shown == arguments.strip('"')
    assert prompt.notes == ("arguments that are no JSON object are shown in one",)


def test_arguments_encoded_twice_are_the_object_that_they_spell(
    shipped: shipped_templates.ShippedTemplates,
) -> None:
    """JSON in a JSON string is the object within."""
    template, _ = shipped.load("qwen3_8")
    once = json.dumps({"item": "melon"})
    assert template.prompt(_calling(json.dumps(once)), TOOLS).text == (
        template.prompt(_calling(once), TOOLS).text
    )


def test_foreign_ids_are_short_and_stay_paired(
    shipped: shipped_templates.ShippedTemplates,
) -> None:
    """Mistral's template gets nine characters: its own ids as they are, equal ones for a call and its result."""
    template, _ = shipped.load("mistral")
    foreign, own = (
        _calling('{"item": "a"}', "toolu_01ABCDEFGH"),
        _calling('{"item": "b"}', "a1B2c3D4e"),
    )
    adapted = template.adapted([*foreign, {"role": "assistant", "content": "So."}, *own])
    shown = [m["tool_calls"][0]["id"] for m in adapted.messages if m.get("tool_calls")]
    assert shown == [m["tool_call_id"] for m in adapted.messages if m["role"] == "tool"]
    assert len(shown[0]) == 9
    assert shown[1] == "a1B2c3D4e"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("qwen3_8", ["system", "user", "assistant", "user", "user"]),
        ("gemma3", ["system", "user", "assistant", "user"]),
        ("gemma", ["user", "assistant", "user"]),
        ("qwen2_5", ["system", "user", "assistant", "system", "user"]),
    ],
)
def test_instructions_in_the_middle(
    shipped: shipped_templates.ShippedTemplates, name: str, expected: list[str]
) -> None:
    """A system message that is not first keeps its place, as a user's where the template wants that."""
    template, _ = shipped.load(name)
    messages: list[Any] = [
        {"role": "system", "content": "Be terse."},
        ASK,
        {"role": "assistant", "content": "Four."},
        {"role": "system", "content": "The budget is 5."},
        {"role": "user", "content": "Go on."},
    ]
    assert [message["role"] for message in template.adapted(messages).messages] == expected
