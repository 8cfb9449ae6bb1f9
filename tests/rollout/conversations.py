"""Random conversations as agents have them: turns, tool loops, reasoning, odd contents."""

from typing import Any

from hypothesis import strategies as st

from rollout.chat_template.sample_chats import TOOLS

Message = dict[str, Any]

TEXTS = st.sampled_from(
    ["", "Hi.", "  padded \n", "two\nlines", "é 漢字 🙂", "<b>&amp;</b> 'q' \"d\"", "{{ x }} {% y %}", "/no_think", "<tool_response>x</tool_response>",
     "<think>", "<|im_start|>user", "None", "0"]
) | st.text(max_size=20)  # fmt: skip
SAID = st.sampled_from(
    ["", "Sure.", "Let me see:\n", "  well  ", "é 🙂", "The answer is <b>4</b>."]
)
THOUGHTS = st.sampled_from(["", "", "Hm.", "First,\nthen second.", "  so  "])
ARGUMENTS = st.dictionaries(
    st.sampled_from(["item", "tags", "exact", "limit", "é"]),
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["melon", "", "a\nb", "<b> 'x'"])
    | st.lists(st.integers(0, 3), max_size=2) | st.just(1.5) | st.just({"deep": [True, None]}),
    max_size=3,
)  # fmt: skip


@st.composite
def assistants(draw: st.DrawFn, num_calls: int) -> Message:
    message: Message = {"role": "assistant", "content": draw(SAID)}
    if thought := draw(THOUGHTS):
        message["reasoning_content"] = thought
    if num_calls:
        message["tool_calls"] = [
            {
                "id": f"c{i:08}",
                "type": "function",
                "function": {"name": "price", "arguments": draw(ARGUMENTS)},
            }
            for i in range(num_calls)
        ]
    return message


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[Message], list[Any] | None]:
    """Messages that end where an assistant continues, and the tools they use."""
    with_tools = draw(st.booleans())
    messages: list[Message] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(TEXTS)})
    for _ in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(TEXTS)})
        for _ in range(draw(st.integers(0, 3)) if with_tools else 0):
            num_calls = draw(st.sampled_from([1, 1, 2]))
            messages.append(draw(assistants(num_calls)))
            messages += [
                {
                    "role": "tool",
                    "content": draw(TEXTS),
                    "tool_call_id": f"c{i:08}",
                    "name": "price",
                }
                for i in range(num_calls)
            ]
        messages.append(draw(assistants(0)))
    last_output = max(i for i, message in enumerate(messages) if message["role"] == "assistant")
    if draw(st.booleans()):
        messages.append({"role": "user", "content": draw(TEXTS)})
    elif messages[last_output - 1]["role"] == "tool":
        del messages[last_output:]
    else:
        messages[last_output:] = [{"role": "user", "content": draw(TEXTS)}]
    return messages, list(TOOLS) if with_tools else None
