"""Reasoning that the client drops comes back from the record; reasoning that the template drops is a branch."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from rollout.engine.grammar import AfterThought
from rollout.engine.sglang.engine import SglangEngine
from rollout.tokenizer.tokenizer import Tokenizer
from tests.fidelity.agent import NEXT, PRICE, USER, ask, saying
from tests.fidelity.conftest import ModelWith
from tests.fidelity.received import EPISODE, assert_exact, assert_one_row
from tests.fidelity.recorder import Recorder
from tests.gateways import StartGateway
from tests.rollout.shipped_templates import source

pytestmark = pytest.mark.engine
CALL = '<tool_call>\n{"name": "price", "arguments": {"item": "melon"}}\n</tool_call>'
THOUGHT = saying(f"<think>\nI look it up.\n</think>\n\n{CALL}")
RESULT: Any = {"role": "tool", "tool_call_id": "call_1", "content": "4"}


class FromTheFirstToken(SglangEngine):
    """Its grammars do not wait for the end of a thought, so that one can hold the thought too."""

    capabilities = replace(
        SglangEngine.capabilities, grammars=SglangEngine.capabilities.grammars - {AfterThought}
    )


KINDS = {"sglang": FromTheFirstToken}


@pytest.fixture
def qwen3_dir(model_with: ModelWith) -> Path:
    """Qwen3's own template: within one task reasoning stays, a new question drops it."""
    return model_with(source("qwen3"))


async def test_reasoning_that_the_client_drops_is_reused(
    start_gateway: StartGateway, recorder: Recorder, qwen3_dir: Path
) -> None:
    """Case 11, sticky: a tool loop whose client sends no reasoning back goes on with the ids that hold it."""
    async with start_gateway(recorder, model_dir=qwen3_dir, engine_kinds=KINDS) as served:
        message = (await ask(served, [USER], tools=[PRICE], **THOUGHT))["message"]
        del message["reasoning"], message["reasoning_content"]
        await ask(served, [USER, message, RESULT], tools=[PRICE])
        await assert_one_row(served, recorder.calls)
        shown = (await served.admin.get(f"/v1/episodes/{EPISODE}")).json()
    assert shown["history"] == "sticky"


async def test_verbatim_shows_the_model_what_the_client_sent(
    start_gateway: StartGateway, recorder: Recorder, qwen3_dir: Path, tokenizer: Tokenizer
) -> None:
    """Case 11, verbatim: without its reasoning the same loop branches where the output began, and shows none."""
    async with start_gateway(recorder, model_dir=qwen3_dir, engine_kinds=KINDS) as served:
        opened = (await served.admin.post("/v1/episodes", json={"history": "verbatim"})).json()
        options = {"episode_id": opened["id"], "tools": [PRICE]}
        message = (await ask(served, [USER], **options, **THOUGHT))["message"]
        del message["reasoning"], message["reasoning_content"]
        await ask(served, [USER, message, RESULT], **options)
        rows = await assert_exact(served, recorder.calls, opened["id"])
    first, second = recorder.calls
    assert len(rows) == 2
    assert "I look it up." not in tokenizer.decode(second.prompt)
    assert second.prompt[: len(first.prompt)] == first.prompt


async def test_reasoning_that_the_template_drops_branches_where_it_began(
    start_gateway: StartGateway, recorder: Recorder, qwen3_dir: Path
) -> None:
    """Case 12: a new question strips the thoughts of a whole tool loop; the prompt before the first of them is shared."""
    async with start_gateway(recorder, model_dir=qwen3_dir, engine_kinds=KINDS) as served:
        first = (await ask(served, [USER], tools=[PRICE], **THOUGHT))["message"]
        answer = saying("<think>\nEasy.\n</think>\n\nFour.")
        loop = [USER, first, RESULT]
        second = (await ask(served, loop, tools=[PRICE], **answer))["message"]
        await ask(served, [*loop, second, NEXT], tools=[PRICE])
        kept, stripped = await assert_exact(served, recorder.calls)
        stored = [turn.context_ids for turn in await served.store.turns(EPISODE)]
    shared = len(recorder.calls[0].prompt)
    assert kept.tokens[:shared].tolist() == stripped.tokens[:shared].tolist()
    assert kept.tokens[shared] != stripped.tokens[shared]
    assert len(stored[2]) == len(recorder.calls[2].prompt) - shared
