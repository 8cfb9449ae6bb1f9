"""Tool-integrated reasoning: the model writes Python, sees what it prints, and answers from that.

A program runs in a process of its own with limits on time and memory, without network where the system allows it.

    python -m clients.examples.tool_reasoning --data train.jsonl
"""

import argparse
import json
from typing import Any

from turngate import Episode, Row, graders, rollouts
from turngate.graders.sandbox import Limits, run_tests

MAX_TURNS = 8
MAX_TOKENS = 512
LIMITS = Limits(seconds=5, cpu_seconds=5, memory_mib=512)
INSTRUCTIONS = "Use the python tool to calculate. Then end your answer with #### and the number."
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "python",
        "description": "Run a program; returns what it prints.",
        "parameters": {
            "type": "object",
            "properties": {"code": {"type": "string"}},
            "required": ["code"],
        },
    },
}


@graders.math()
def agent(episode: Episode, row: Row) -> str:
    """Let the model run programs until it answers."""
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
            {"role": "tool", "tool_call_id": call.id, "content": printed(call.function.arguments)}
            for call in message.tool_calls
            if call.type == "function"
        ]
    return ""


def printed(arguments: str) -> str:
    """What the program of a call prints, errors included; an invalid call gets words that say so."""
    try:
        code = json.loads(arguments)["code"]
    except (ValueError, KeyError, TypeError):
        return 'call python with {"code": "…"}'
    outcome = run_tests(str(code), [], limits=LIMITS)
    if outcome.timed_out:
        return f"{outcome.output}\nstopped after {LIMITS.seconds:g} seconds"
    return outcome.output or "it printed nothing"


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a model to reason with Python.")
    parser.add_argument("--data", required=True, help="JSON Lines of {question, answer}")
    print(rollouts(parser.parse_args().data, agent))  # noqa: T201


if __name__ == "__main__":
    main()
