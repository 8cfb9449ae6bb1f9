"""A model that works through a plan: a tool call in each turn, then the answer. It reads its prompt to know how far it is.

It thinks before each reply, as the real Qwen3 does. Clients of chat completions do not send that back.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rollout.tokenizer.tokenizer import Tokenizer
from tests.engine_script import Step, Stop, Tokens

ANSWER = "The total is 10."
ASIDE = "Adding numbers"  # what it says without tools: to whoever asks for a title
Call = tuple[str, dict[str, Any]]
RESULTS = (
    "<tool_response>\n",
    "Observation:\n",
)  # what a call's result begins with; the second is smolagents'
PIECE = 16  # tokens of one event


class ScriptedModel:
    def __init__(self, tokenizer: Tokenizer, calls: Sequence[Call]) -> None:
        self._tokenizer = tokenizer
        self._calls = calls

    def steps(self, body: dict[str, Any]) -> Iterable[Step]:
        """What is sampled after this prompt."""
        ids = self._tokenizer.encode(self._reply(self._tokenizer.decode(body["input_ids"])))
        yield from (Tokens(ids[start : start + PIECE]) for start in range(0, len(ids), PIECE))
        yield Stop(min(self._tokenizer.eos_ids))

    def _reply(self, prompt: str) -> str:
        thought = (
            ""
            if prompt.endswith("</think>\n\n")
            else "<think>\nOne sum after another.\n</think>\n\n"
        )
        if "# Tools" not in prompt:
            return f"{thought}{ASIDE}"
        done = sum(prompt.count(begin) for begin in RESULTS)
        if done >= len(self._calls):
            return f"{thought}{ANSWER}"
        name, arguments = self._calls[done]
        call = json.dumps({"name": name, "arguments": arguments})
        return f"{thought}<tool_call>\n{call}\n</tool_call>"
