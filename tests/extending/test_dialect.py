"""A dialect from outside: one file, handed to the gateway beside the built-in ones."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from gateway.dialects.registry import DIALECTS
from gateway.request.request import ReplyHead, Request
from gateway.turn.event_stream import EventStream
from rollout.episode.turn import Turn
from rollout.tokenizer.tokenizer import Tokenizer
from tests.extending.toy_dialect import ASK, FOLLOW, ToyDialect, ToyStream
from tests.gateway.conftest import end_of_turn, spell
from tests.gateways import Gateway, StartGateway
from tests.scripted_engine import Garbage, ScriptedEngine, Tokens, Wait, running_engine

CHAT = "/v1/chat/completions"
WORDS = "Hello there."


@pytest.fixture
async def scripted(tokenizer: Tokenizer) -> AsyncIterator[ScriptedEngine]:
    async with running_engine() as scripted:
        scripted.default = (*spell(tokenizer, WORDS), end_of_turn(tokenizer))
        yield scripted


@pytest.fixture
async def served(start_gateway: StartGateway, scripted: ScriptedEngine) -> AsyncIterator[Gateway]:
    dialects = (*DIALECTS, ToyDialect)
    async with start_gateway(scripted, dialects=dialects, max_body_bytes=1000) as running:
        yield running


async def test_a_whole_reply(served: Gateway) -> None:
    """A call in the toy's format is a recorded turn, and its reply's id takes a reward."""
    answer = await served.admin.post(f"/e/ep_1{ASK}", content="Hi")
    (turn,) = await served.store.turns("ep_1")
    assert answer.json() == {"reply": f"toy:{turn.id}", "text": WORDS}
    reward = {"completion_id": answer.json()["reply"], "value": 1.0}
    rewarded = (await served.admin.post("/v1/rewards", json=reward)).json()
    assert (rewarded["episode_id"], rewarded["turn_id"]) == ("ep_1", turn.id)


async def test_a_streamed_reply(served: Gateway) -> None:
    """The stream has the toy's framing, content type and end, and the text of a whole reply."""
    answer = await served.admin.post(f"/e/ep_1{FOLLOW}", content="Hi")
    lines = [msgspec.json.decode(each) for each in answer.text.splitlines()]
    first, *middle, last = [each for each in lines if each]
    (turn,) = await served.store.turns("ep_1")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert first == {"reply": f"toy:{turn.id}"}
    assert "".join(each["more"] for each in middle) == WORDS
    assert last == {"end": "stop"}


async def test_a_repeated_stream_is_the_recorded_one(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """A call with the same idempotency key is streamed again from the record, without the engine."""
    headers = {"idempotency-key": "once"}
    first = await served.admin.post(FOLLOW, content="Hi", headers=headers)
    again = await served.admin.post(FOLLOW, content="Hi", headers=headers)
    texts = [
        "".join(msgspec.json.decode(each).get("more", "") for each in answer.text.splitlines())
        for answer in (first, again)
    ]
    assert texts == [WORDS, WORDS]
    assert first.text.splitlines()[0] == again.text.splitlines()[0]
    assert len(scripted.requests) == 1


NO_KEY: Any = {"authorization": ""}
OTHER: Any = {"x-turngate-episode": "ep_2"}
WRONG: Any = (
    ("POST", ASK, {"content": "Hi", "headers": NO_KEY}, 401, "missing_api_key"),
    ("POST", ASK, {"content": b""}, 400, "empty"),
    ("POST", ASK, {"content": b"x" * 2000}, 413, "request_too_large"),
    ("GET", ASK, {}, 405, "method_not_allowed"),
    ("GET", f"{FOLLOW}/nothing", {}, 404, "not_found"),
    ("POST", f"{ASK}/nothing", {}, 404, "not_found"),
    ("POST", f"/e/ep_1{ASK}", {"content": "Hi", "headers": OTHER}, 400, "episode_conflict"),
)


async def test_errors_have_the_dialects_own_body(served: Gateway) -> None:
    """Every refusal on the toy's paths has the toy's body, also those of the router and of the middleware."""
    for method, path, call, status, why in WRONG:
        answer = await served.admin.request(method, path, **call)
        assert (answer.status_code, answer.json()["why"]) == (status, why)
        assert set(answer.json()) == {"wrong", "why"}
        assert answer.headers["x-request-id"]


async def test_other_paths_keep_their_errors(served: Gateway) -> None:
    """Chat's paths and the control plane's answer in OpenAI's shape, also when another dialect is served."""
    for path in (CHAT, "/v1/episodes/ep_none", "/toy", "/toy/askew"):
        assert set((await served.admin.get(path)).json()) == {"error"}


async def test_a_failure_in_mid_stream_is_the_dialects(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """Engines that fail for good after the first token end the stream as the toy ends it."""
    scripted.script(Tokens(tokenizer.encode("begun")), Garbage())
    scripted.script(Garbage())
    scripted.script(Garbage())
    answer = await served.admin.post(FOLLOW, content="Hi")
    assert answer.status_code == 200
    assert msgspec.json.decode(answer.text.splitlines()[-1])["why"] == "engine_unavailable"


async def test_a_silence_is_filled_as_the_dialect_says(
    start_gateway: StartGateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """While a started stream is silent the toy's keep-alives are sent, and the reply goes on after them."""
    rest = asyncio.Event()
    scripted.script(Tokens(tokenizer.encode("begun")), Wait(rest), end_of_turn(tokenizer))
    lines = []
    starting = start_gateway(scripted, dialects=(*DIALECTS, ToyDialect), keep_alive_seconds=0.05)
    async with (
        starting as served,
        served.admin.stream("POST", FOLLOW, content="Hi") as answer,
    ):
        async for line in answer.aiter_lines():
            lines.append(line)
            if lines.count("{}") == 2:
                rest.set()
    assert msgspec.json.decode(lines[-1]) == {"end": "stop"}


async def test_the_dialect_leaves_no_trace_in_the_record(served: Gateway) -> None:
    """The same conversation and token ids are the same turn in the store, in whichever dialect it was taken."""
    body: Any = {"messages": [{"role": "user", "content": "Hi"}]}
    for episode, path, content in (
        ("ep_chat", CHAT, {"json": body}),
        ("ep_stream", CHAT, {"json": body | {"stream": True}}),
        ("ep_toy", ASK, {"content": "Hi"}),
        ("ep_toy_stream", FOLLOW, {"content": "Hi"}),
    ):
        answer: httpx.Response = await served.admin.post(f"/e/{episode}{path}", **content)
        assert answer.status_code == 200, answer.text
    chat, *others = [
        await record(served, f"ep_{name}") for name in ("chat", "stream", "toy", "toy_stream")
    ]
    assert chat.outputs[0].num_tokens > 0
    assert others == [chat] * 3


async def record(served: Gateway, episode_id: str) -> Turn:
    """An episode's only turn, without what differs between two equal calls."""
    (turn,) = await served.store.turns(episode_id)
    return msgspec.structs.replace(turn, id="", created_ms=0, body_digest="")


class _FaultyStream(ToyStream):
    async def start(self, head: ReplyHead) -> None:
        raise TypeError("a fault of the dialect")


class _FaultyDialect(ToyDialect):
    def stream(self, request: Request, events: EventStream) -> ToyStream:
        return _FaultyStream(events)


async def test_a_dialect_that_fails_leaves_no_turn_open(
    start_gateway: StartGateway, scripted: ScriptedEngine
) -> None:
    """A turn whose stream raises any error is abandoned, so sealing its episode does not wait for it."""
    async with start_gateway(scripted, dialects=(*DIALECTS, _FaultyDialect)) as served:
        answer = await served.admin.post(f"/e/ep_1{FOLLOW}", content="Hi")
        (turn,) = await served.store.turns("ep_1")
        await served.admin.post("/v1/episodes/ep_1/complete", json={})
        shown = (await served.admin.get("/v1/episodes/ep_1")).json()
    assert answer.status_code == 500
    assert turn.outputs[0].is_abandoned
    assert shown["status"] == "discarded"
