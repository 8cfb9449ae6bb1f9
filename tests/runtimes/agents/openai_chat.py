"""The openai SDK, chat completions, streamed."""

import json

from openai import OpenAI
from task import API_KEY, BASE_URL, MAX_CALLS, MODEL, PARAMETERS, TASK, add

client = OpenAI(base_url=BASE_URL, api_key=API_KEY)
tools = [{"type": "function", "function": {"name": "add", "parameters": PARAMETERS}}]
messages = [{"role": "user", "content": TASK}]
for _ in range(MAX_CALLS):
    with client.chat.completions.stream(model=MODEL, messages=messages, tools=tools) as stream:
        message = stream.get_final_completion().choices[0].message
    messages.append(message)
    if not message.tool_calls:
        break
    for call in message.tool_calls:
        result = str(add(**json.loads(call.function.arguments)))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
print(message.content)
