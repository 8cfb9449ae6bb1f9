"""The checks of `llm-comply`, which tries a server as a client of each of three formats."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import llm_comply
import pytest
from llm_comply import runner
from llm_comply.config import ComplianceConfig
from llm_comply.schema import SpecLoader
from llm_comply.tests import get_tests

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, spell
from tests.gateways import ADMIN_KEY, Gateway
from tests.scripted_engine import ScriptedEngine, Step

SPECS = Path(llm_comply.__file__).parent / "specs"
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"location": "Paris"}}\n</tool_call>'
NO_IMAGES = "the model of this test sees no images, and a 400 says so"
NO_MODEL = "a body that names no model asks for the policy"
NOT_COMPACTED = "conversations are not compacted here"
OLDER = "its schema has no events of reasoning text, which openai's and Open Responses' own have"
# What is not passed, and why: check, beginning of the error, reason.
EXCEPTIONS = (
    ("chat-image-input", "", NO_IMAGES),
    ("anth-image-input", "", NO_IMAGES),
    ("image-input", "", NO_IMAGES),
    ("chat-error-handling", "HTTP 200", NO_MODEL),
    ("error-handling", "HTTP 200", NO_MODEL),
    ("compact-response", "", NOT_COMPACTED),
    ("compact-missing-model", "", NOT_COMPACTED),
    ("streaming-response", "unknown SSE event type: response.reasoning_text.", OLDER),
    ("streaming-usage", "unknown SSE event type: response.reasoning_text.", OLDER),
)


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("openai-chat", "openai_chat.json"),
        ("open-responses", "openresponses.json"),
        ("anthropic", "anthropic.json"),
    ],
)
async def test_every_check_passes(
    thinking: Gateway, scripted: ScriptedEngine, qwen3: Tokenizer, name: str, spec: str
) -> None:
    """Each check passes, or is an exception with its reason."""

    def policy(body: dict[str, Any]) -> Iterable[Step]:
        is_forced = "structural_tag" in body["sampling_params"]
        is_offered = "get_weather" in qwen3.decode(body["input_ids"])
        text = CALL if is_forced or is_offered else "Hello there."
        return (*spell(qwen3, f"<think>\nHm.\n</think>\n\n{text}"), end_of_turn(qwen3))

    scripted.policy, scripted.default = policy, ()
    config = ComplianceConfig(f"{thinking.url}/v1", ADMIN_KEY, model="claude-opus-policy")
    checks = runner.TestRunner(config, get_tests(name), SpecLoader(str(SPECS / spec)))
    suite = await asyncio.to_thread(checks.run_all)
    assert suite.results
    failed = [
        f"{result.id}: {error}"
        for result in suite.results
        for error in result.errors
        if result.status.name == "FAILED"
        and not any(result.id == id_ and error.startswith(start) for id_, start, _ in EXCEPTIONS)
    ]
    assert failed == []
