"""The openai SDK, Responses, with the whole history in each call."""

import json

from openai import OpenAI
from task import API_KEY, BASE_URL, MAX_CALLS, MODEL, PARAMETERS, TASK, add

client = OpenAI(base_url=BASE_URL, api_key=API_KEY)
tools = [{"type": "function", "name": "add", "parameters": PARAMETERS, "strict": False}]
items = [{"role": "user", "content": TASK}]
for _ in range(MAX_CALLS):
    response = client.responses.create(model=MODEL, input=items, tools=tools, store=False)
    items += response.output
    calls = [item for item in response.output if item.type == "function_call"]
    if not calls:
        break
    for call in calls:
        result = str(add(**json.loads(call.arguments)))
        items.append({"type": "function_call_output", "call_id": call.call_id, "output": result})
print(response.output_text)
