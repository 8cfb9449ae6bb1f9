"""An agent that answers a word problem in one call: an ordinary one on the stock OpenAI SDK."""

from dataclasses import dataclass

from openai import AsyncOpenAI

MAX_TOKENS = 64  # enough for a problem of two steps; several hundred for a real model


@dataclass(frozen=True, slots=True)
class Attempt:
    answer: str
    turns: int
    output_tokens: int


async def attempt(client: AsyncOpenAI, question: str, *, max_tokens: int = MAX_TOKENS) -> Attempt:
    reply = await client.chat.completions.create(
        model="policy",
        messages=[{"role": "user", "content": question}],
        max_tokens=max_tokens,
        temperature=1.0,
    )
    used = reply.usage.completion_tokens if reply.usage else 0
    return Attempt(reply.choices[0].message.content or "", 1, used)
