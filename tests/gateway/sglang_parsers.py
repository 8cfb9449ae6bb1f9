"""Runs inside the engine's environment: SGLang's own parsers and grammars, JSON in and out.

python -m tests.gateway.sglang_parsers INPUT OUTPUT
"""

import json
import sys
from pathlib import Path
from typing import Any

from rollout.engine.sglang.server import cpu


def main() -> None:
    """Import SGLang only once it can be imported."""
    source, target = map(Path, sys.argv[1:])
    asked = json.loads(source.read_text(encoding="utf-8"))
    cpu.install()
    answers = {
        "outputs": [parsed(each, asked["tools"]) for each in asked["outputs"]],
        "grammars": [accepted(**each) for each in asked["grammars"]],
    }
    target.write_text(json.dumps(answers), encoding="utf-8")


def parsed(output: dict[str, Any], tools: list[dict[str, Any]]) -> dict[str, Any]:
    """As the server's chat endpoint does it: reasoning first, calls in the rest."""
    # SGLang can be imported only after `install`.
    from sglang.srt.entrypoints.openai.protocol import Tool  # noqa: PLC0415
    from sglang.srt.function_call.function_call_parser import FunctionCallParser  # noqa: PLC0415
    from sglang.srt.parser.reasoning_parser import ReasoningParser  # noqa: PLC0415

    reasoning, text = ReasoningParser(
        output["reasoning_parser"], stream_reasoning=False
    ).parse_non_stream(output["text"])
    calls = FunctionCallParser([Tool(**tool) for tool in tools], output["tool_parser"])
    content, items = text, []
    if calls.has_tool_call(text):
        content, items = calls.parse_non_stream(text)
    return {
        "reasoning": reasoning or "",
        "content": content or "",
        "calls": [[item.name, json.loads(item.parameters)] for item in items],
    }


def accepted(structural_tag: str, text: str) -> bool:
    """Whether the grammar allows this text, and then an end."""
    import xgrammar  # noqa: PLC0415 - needs no more than the text, but the same start

    vocabulary = [bytes([value]) for value in range(256)] + [b""]
    tokens = xgrammar.TokenizerInfo(vocabulary, stop_token_ids=[256])
    compiled = xgrammar.GrammarCompiler(tokens).compile_structural_tag(structural_tag)
    matcher = xgrammar.GrammarMatcher(compiled)
    return matcher.accept_string(text) and matcher.accept_token(256)


if __name__ == "__main__":
    main()
