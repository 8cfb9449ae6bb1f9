"""litellm, whose retries are its own."""

import json

import litellm
from task import API_KEY, BASE_URL, MAX_CALLS, MODEL, PARAMETERS, TASK, add

tools = [{"type": "function", "function": {"name": "add", "parameters": PARAMETERS}}]
messages = [{"role": "user", "content": TASK}]
for _ in range(MAX_CALLS):
    reply = litellm.completion(
        model=f"openai/{MODEL}",
        api_base=BASE_URL,
        api_key=API_KEY,
        messages=messages,
        tools=tools,
        num_retries=2,
    )
    message = reply.choices[0].message
    messages.append(message.model_dump())
    if not message.tool_calls:
        break
    for call in message.tool_calls:
        result = str(add(**json.loads(call.function.arguments)))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
print(message.content)
