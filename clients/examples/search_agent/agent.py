"""An agent that searches until it can answer, for as many turns as it takes."""

import json
from typing import Any

from clients.examples.search_agent.corpus import Corpus
from turngate import Episode, Row

MAX_TURNS = 200
MAX_TOKENS = 256
INSTRUCTIONS = "Use the search tool until you know the answer. Then reply with the answer alone."
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "The documents that fit the words best.",
        "parameters": {
            "type": "object",
            "properties": {"query": {"type": "string"}},
            "required": ["query"],
        },
    },
}


def search_and_answer(episode: Episode, row: Row, corpus: Corpus) -> str:
    """The history only grows, so that all turns train as one sequence."""
    client = episode.openai()
    messages: list[Any] = [
        {"role": "system", "content": INSTRUCTIONS},
        {"role": "user", "content": row.question},
    ]
    for _ in range(MAX_TURNS):
        reply = client.chat.completions.create(
            model=episode.model,
            messages=messages,
            tools=[TOOL],
            max_tokens=MAX_TOKENS,
            temperature=1.0,
        )
        message = reply.choices[0].message
        if not message.tool_calls:
            return message.content or ""
        messages.append(message.model_dump(exclude_none=True))
        messages += [
            {"role": "tool", "tool_call_id": call.id, "content": found(call, corpus)}
            for call in message.tool_calls
        ]
    return ""


def found(call: Any, corpus: Corpus) -> str:
    """The result of a call; an invalid one gets words that say so."""
    try:
        query = json.loads(call.function.arguments)["query"]
    except (ValueError, KeyError, TypeError):
        return 'call search with {"query": "…"}'
    return corpus.search(str(query))
