"""Conversations that agents send and few templates expect: any order of roles, calls cut in the middle, results without a call."""

from typing import Any

from hypothesis import strategies as st

Message = dict[str, Any]

ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool"])
IDS = st.sampled_from(["c00000000", "call_0123456789abcdef01234567", "toolu_01A-b", "", None])
ARGUMENTS = st.sampled_from(
    [
        *('{"item": "melon"}', '{"item": "mel', '["melon"]', '"melon"', "3", "null", "", None),
        '"{\\"item\\": \\"melon\\"}"',
        '{"item": "\\ud83d"}',
        {"item": {"deep": [1, None]}},
    ]
)
NAMES = st.sampled_from(["price", "forgotten"])
PARAMETERS = {"type": "object", "properties": {"item": {"type": "string"}}}
TOOLS: list[list[Any] | None] = [
    None,
    [{"type": "function", "function": {"name": "price", "parameters": PARAMETERS}}],
    [{"type": "function", "function": {"name": "now"}}],
    [{"type": "function", "function": {"name": "now", "description": None, "parameters": None}}],
    [{"type": "function", "function": {"name": "now", "description": "x", "parameters": {}}}],
    [{"function": {"name": "now", "parameters": {"type": "object"}}}],
]


@st.composite
def odd_messages(draw: st.DrawFn, place: int) -> Message:
    """A message; the word in it is its own."""
    role = draw(ROLES)
    message: Message = {"role": role, "content": f"word{place}."}
    if role == "tool" and (id_ := draw(IDS)) is not None:
        message["tool_call_id"] = id_
    if role == "assistant":
        message["content"] = draw(st.sampled_from([f"word{place}.", "", None]))
        calls = [
            {"id": id_ or "", "type": "function", "function": {"name": name, "arguments": given}}
            for id_, name, given in draw(st.lists(st.tuples(IDS, NAMES, ARGUMENTS), max_size=2))
        ]
        if calls:
            message["tool_calls"] = calls
    return message


@st.composite
def odd_conversations(draw: st.DrawFn) -> tuple[list[Message], list[Any] | None]:
    """At least one message, and tools."""
    num_messages = draw(st.integers(1, 6))
    messages = [draw(odd_messages(place)) for place in range(num_messages)]
    return messages, draw(st.sampled_from(TOOLS))
