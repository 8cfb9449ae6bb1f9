"""A clerk that answers questions with tools: an ordinary agent on the stock OpenAI SDK.

It gets a client, and nothing in it knows that the model is being trained.
"""

from dataclasses import dataclass
from typing import Any

from openai import AsyncOpenAI

from clients.examples.shop_clerk.shop import TOOLS, Shop

MAX_TURNS = 6
MAX_TURN_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Attempt:
    answer: str
    turns: int
    output_tokens: int


async def attempt(client: AsyncOpenAI, question: str, shop: Shop) -> Attempt:
    """Call the model until its reply has no tool call: that reply is the answer."""
    messages: list[Any] = [{"role": "user", "content": question}]
    output_tokens = 0
    for turn in range(1, MAX_TURNS + 1):
        reply = await client.chat.completions.create(
            model="policy",
            messages=messages,
            tools=TOOLS,
            max_tokens=MAX_TURN_TOKENS,
            temperature=1.0,
        )
        output_tokens += reply.usage.completion_tokens if reply.usage else 0
        message = reply.choices[0].message
        if not message.tool_calls:
            return Attempt(message.content or "", turn, output_tokens)
        messages.append(message.model_dump(exclude_none=True))
        messages += [tool_result(call, shop) for call in message.tool_calls]
    return Attempt("", MAX_TURNS, output_tokens)


def tool_result(call: Any, shop: Shop) -> dict[str, str]:
    result = shop.call(call.function.name, call.function.arguments)
    return {"role": "tool", "tool_call_id": call.id, "content": result}
