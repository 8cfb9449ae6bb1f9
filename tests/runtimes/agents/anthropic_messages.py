"""The anthropic SDK, streamed."""

from anthropic import Anthropic
from task import API_KEY, BASE_URL, MAX_CALLS, MODEL, PARAMETERS, TASK, add

client = Anthropic(base_url=BASE_URL.removesuffix("/v1"), api_key=API_KEY)
tools = [{"name": "add", "description": "Add two numbers.", "input_schema": PARAMETERS}]
messages = [{"role": "user", "content": TASK}]
for _ in range(MAX_CALLS):
    with client.messages.stream(
        model=MODEL, max_tokens=1024, messages=messages, tools=tools
    ) as stream:
        message = stream.get_final_message()
    messages.append({"role": "assistant", "content": message.content})
    calls = [block for block in message.content if block.type == "tool_use"]
    if not calls:
        break
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": str(add(**call.input))}
        for call in calls
    ]
    messages.append({"role": "user", "content": results})
print("".join(block.text for block in message.content if block.type == "text"))
