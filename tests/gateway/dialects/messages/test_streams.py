"""A streamed message: its events together, and how it ends when something happens in between."""

import asyncio
import json
from typing import Any

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, spell
from tests.gateway.dialects.messages.bodies import (
    BODY,
    BROKEN,
    CALL,
    MESSAGES,
    PRICE,
    THOUGHT,
)
from tests.gateways import Gateway, StartGateway
from tests.scripted_engine import (
    Garbage,
    Refuse,
    ScriptedEngine,
    Step,
    Stop,
    Tokens,
    Version,
    Wait,
)

TEXTS = (
    "Plain words.",
    f"I look.\n{CALL}",
    f"{CALL}\n{CALL}",
    f"I look.\n{CALL}\nand say more",
    BROKEN,
    CALL.partition("mel")[0],
    "up to STOP and more",
    "",
    f"{THOUGHT}It is.",
    f"{THOUGHT}{CALL}",
    THOUGHT.partition("is")[0],
)


async def test_a_stream_folds_to_the_unstreamed_reply(
    thinking: Gateway, scripted: ScriptedEngine, qwen3: Tokenizer
) -> None:
    """For the same token ids the SDK puts the events together to the unstreamed message, broken and cut calls too."""
    asked: Any = {**BODY, "tools": [PRICE], "stop_sequences": ["STOP"]}
    async with thinking.anthropic(_strict_response_validation=True) as client:
        for text in TEXTS:
            end: Step = Stop("STOP") if "STOP" in text else end_of_turn(qwen3)
            steps = (*spell(qwen3, text.partition(" and more")[0]), end)
            scripted.script(*steps)
            scripted.script(*steps)
            whole = await client.messages.create(**asked)
            async with client.messages.stream(**asked) as stream:
                folded = await stream.get_final_message()
            kept = {"exclude": {"id", "content"}}
            assert folded.model_dump(**kept) == whole.model_dump(**kept), text
            assert comparable(folded) == comparable(whole), text


def comparable(message: Any) -> Any:
    """The blocks without the ids and signatures, which name the turn, and without what the SDK adds."""
    left_out = {"id", "signature", "parsed_output"}
    return [block.model_dump(exclude=left_out) for block in message.content]


async def test_an_error_in_mid_stream_is_an_event(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """Engines that fail for good after the first token end the stream with an error event and no `message_stop`."""
    scripted.script(Tokens(tokenizer.encode("begun")), Garbage())
    scripted.script(Garbage())
    scripted.script(Garbage())
    answer = await served.admin.post(MESSAGES, json=BODY | {"stream": True})
    events = answer.text.strip().split("\n\n")
    assert events[0].startswith("event: message_start\n")
    assert events[-1].startswith("event: error\n")
    assert "message_stop" not in answer.text
    error = json.loads(events[-1].partition("data: ")[2])
    assert error["error"]["type"] == "overloaded_error"
    assert error["request_id"] == answer.headers["x-request-id"]


async def test_a_swap_in_mid_stream_shows_only_in_the_record(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A stream goes on over a swap of the policy, and the record says who sampled each token."""
    scripted.script(
        *spell(tokenizer, "one "), Version(1), *spell(tokenizer, "two"), end_of_turn(tokenizer)
    )
    async with served.anthropic(path="/e/ep_1") as client, client.messages.stream(**BODY) as stream:
        assert await stream.get_final_text() == "one two"
    (turn,) = await served.store.turns("ep_1")
    assert turn.versions == (0, 1)


async def test_a_client_that_leaves_aborts_the_engine(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A disconnect in mid-stream aborts the engine's call."""
    scripted.script(
        Tokens(tokenizer.encode("so far")), Wait(asyncio.Event()), end_of_turn(tokenizer)
    )
    async with served.anthropic() as client, client.messages.stream(**BODY) as stream:
        async for text in stream.text_stream:
            assert text
            break
    await asyncio.wait_for(scripted.was_aborted.wait(), 5)
    assert scripted.aborted == [scripted.requests[0]["rid"]]


async def test_pings_fill_a_silence_before_the_first_token(
    start_gateway: StartGateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """After the configured silence headers and pings go out; the message, or an error, follows as events."""
    for then in ((*spell(tokenizer, "Late."), end_of_turn(tokenizer)), (Refuse(400, "no"),)):
        rest = asyncio.Event()
        scripted.script(Wait(rest), *then)
        events: list[str] = []
        async with (
            start_gateway(scripted, keep_alive_seconds=0.05) as served,
            served.admin.stream("POST", MESSAGES, json=BODY | {"stream": True}) as answer,
        ):
            assert answer.status_code == 200
            assert answer.headers["x-turngate-episode"]
            async for line in answer.aiter_lines():
                if line.startswith("event: "):
                    events.append(line.removeprefix("event: "))
                if events.count("ping") == 2:
                    rest.set()
        scripted.forget()
        assert events[:2] == ["ping", "ping"]
        assert events[-1] == ("error" if len(then) == 1 else "message_stop")
