"""Every dialect in front of the real SGLang: reasoning, parallel calls, clients that leave, swaps, and an engine that is killed.

The policy of the tests has random weights, so a grammar makes it say what a case needs; its tokens are the policy's own.
"""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from rollout.engine.engine import Engine, EngineOptions
from rollout.engine.generation import Chunk, GenerateRequest
from rollout.engine.grammar import Regex
from rollout.engine.sglang.engine import SglangEngine
from rollout.engine.swap import swap
from rollout.episode.turn import Turn
from rollout.policies import PolicyStore
from rollout.tokenizer.tokenizer import Tokenizer
from tests.engines import borrowed, engine_process, num_calls, two_policies
from tests.gateway.conftest import eventually
from tests.gateway.dialects.test_same_turn import CALL, DIALECTS, OUTPUTS, Said, events_of, normal
from tests.gateway.dialects.vendor_specs import faults
from tests.gateways import Gateway, StartGateway
from tests.profiles import per_profile
from tests.rollout.shipped_templates import source

pytestmark = pytest.mark.engine
PRICE_OF_TWO = (
    f"<think>\nTwice.\n</think>\n\n{CALL}\n{CALL.replace('melon', 'lemon')}",
    "<think>\nHm, well.\n</think>\n\nSo.",
)
LONG = "[a-z]{3000}"
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    name: (spoken.path, {key: value for key, value in spoken.body.items() if key != "tools"})
    for name, spoken in DIALECTS.items()
} | {"completions": ("/v1/completions", {"prompt": "A melon", "max_tokens": 3500})}
ENDS = ("[DONE]", "response.completed", "response.incomplete", "message_stop")


@dataclass
class Voice:
    """Opens engines whose policy says what fits a pattern; some dialects have no field to ask for it."""

    pattern: str = ""

    def say(self, text: str) -> None:
        self.pattern = re.escape(text)

    def open(self, url: str, options: EngineOptions) -> Engine:
        return SayingEngine(url, options, self)


class SayingEngine(SglangEngine):
    def __init__(self, url: str, options: EngineOptions, voice: Voice) -> None:
        super().__init__(url, options)
        self._voice = voice

    async def generate(self, request: GenerateRequest) -> Chunk:
        return await super().generate(self._saying(request))

    def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk]:
        return super().stream(self._saying(request))

    def _saying(self, request: GenerateRequest) -> GenerateRequest:
        sampling = replace(request.sampling, grammar=Regex(self._voice.pattern))
        return replace(request, sampling=sampling)


@pytest.fixture
def voice() -> Voice:
    return Voice()


@pytest.fixture
def settings(model_dir: Path, tmp_path: Path, voice: Voice) -> dict[str, Any]:
    """A gateway that reads Qwen3's own template, and lets the policy speak by the voice."""
    directory = tmp_path / "model"
    shutil.copytree(model_dir, directory)
    (directory / "chat_template.jinja").write_text(source("qwen3"))
    return {"model_dir": directory, "engine_kinds": {"sglang": voice.open}}


@pytest.fixture
def policies(model_dir: Path, tmp_path: Path) -> PolicyStore:
    return two_policies(model_dir, tmp_path / "policies")


@dataclass
class Stream:
    """One streamed call."""

    name: str
    begun: asyncio.Event = field(default_factory=asyncio.Event)  # text has come
    lines: list[str] = field(default_factory=list)

    @property
    def episode(self) -> str:
        return f"ep_{self.name}"

    @property
    def events(self) -> list[dict[str, Any]]:
        return list(events_of("\n".join(self.lines)))

    @property
    def has_ended_well(self) -> bool:
        return any(end in line for line in self.lines for end in ENDS)

    async def read(self, served: Gateway, *, leaves: bool = False) -> None:
        """Until it ends, or the client leaves after the first text."""
        path, body = BODIES[self.name]
        asked = body | {"model": "policy", "stream": True}
        async with served.admin.stream("POST", f"/e/{self.episode}{path}", json=asked) as answer:
            assert answer.status_code == 200, await answer.aread()
            async for line in answer.aiter_lines():
                self.lines.append(line)
                if re.search(r'"(content|text|delta)":"[a-z]+"', line):
                    self.begun.set()
                    if leaves:
                        return


def streams() -> list[Stream]:
    return [Stream(name) for name in BODIES]


def form_of(name: str, error: dict[str, Any]) -> tuple[str, str]:
    """The vendor and its schema of an error; a response that has begun ends with an event."""
    vendor = "anthropic" if name == "messages" else "openai"
    return vendor, "ResponseFailedEvent" if error.get(
        "type"
    ) == "response.failed" else "ErrorResponse"


async def only_turn(served: Gateway, episode: str) -> Turn:
    (turn,) = await eventually(lambda: served.store.turns(episode))
    return turn


async def test_every_dialect_describes_one_turn_of_the_real_engine(
    start_gateway: StartGateway, engine: str, voice: Voice, settings: dict[str, Any]
) -> None:
    """Reasoning, text and parallel calls: the same tokens are the same reply in each dialect, streamed and not."""
    async with start_gateway(engine, **settings) as served:

        async def asked(place: int, name: str, way: str) -> tuple[Said, list[int]]:
            """What is said without the prompt's tokens, which Messages counts without those that were cached, and the ids."""
            spoken, episode = DIALECTS[name], f"ep_{place}_{name}_{way}"
            body = spoken.body | {"model": "policy", "temperature": 0, "stream": way == "streamed"}
            answer = await served.admin.post(f"/e/{episode}{spoken.path}", json=body)
            assert answer.status_code == 200, answer.text
            said = (
                spoken.folded(list(events_of(answer.text)))
                if way == "streamed"
                else spoken.whole(answer.json())
            )
            (turn,) = await served.store.turns(episode)
            said.usage = (0, said.usage[1])
            return normal(said), turn.outputs[0].ids.tolist()

        for place, output in enumerate(per_profile(ci=PRICE_OF_TWO, nightly=OUTPUTS)):
            voice.say(output)
            ways = [(name, way) for name in DIALECTS for way in ("whole", "streamed")]
            told = await asyncio.gather(*(asked(place, *way) for way in ways))
            first, ids = told[0]
            assert told == [(first, ids)] * len(told)
            assert first.reasoning in output
            assert len(first.calls) == output.count(CALL[:20])


async def test_a_client_that_leaves_stops_the_real_engine(
    start_gateway: StartGateway, engine: str, voice: Voice, settings: dict[str, Any]
) -> None:
    """In each dialect the engine drops the call at once, and what was sampled is recorded and never trains."""
    voice.pattern = LONG
    async with start_gateway(engine, **settings) as served:
        left = streams()
        await asyncio.gather(*(stream.read(served, leaves=True) for stream in left))
        turns = [await only_turn(served, stream.episode) for stream in left]

        async def is_idle() -> bool:
            return await num_calls(engine) == 0

        assert await eventually(is_idle, seconds=10)
    assert all(turn.outputs[0].is_abandoned for turn in turns)
    assert all(0 < len(turn.outputs[0].ids) < 1500 for turn in turns)


async def test_a_swap_under_streams_of_every_dialect(
    start_gateway: StartGateway,
    engine: str,
    voice: Voice,
    settings: dict[str, Any],
    policies: PolicyStore,
) -> None:
    """The reply goes on over a swap to its end, and the record says which policy sampled which token."""
    voice.pattern = "[a-z]{1000}"
    async with (
        borrowed(engine, policies.policy(0)) as control,
        start_gateway(engine, **settings) as served,
    ):
        running = streams()
        reading = asyncio.gather(*(stream.read(served) for stream in running))
        for stream in running:
            await stream.begun.wait()
        await control.pause()  # at once: a swap reads the new weights first
        swapped = await swap([control], policies.policy(7))
        await reading
        turns = [await only_turn(served, stream.episode) for stream in running]
    tokenizer = Tokenizer.load(settings["model_dir"])
    assert all(result.ok for result in swapped)
    assert [turn.versions for turn in turns] == [(0, 7)] * len(turns)
    for stream, turn in zip(running, turns, strict=True):
        assert stream.has_ended_well
        text = tokenizer.decode(turn.outputs[0].ids.tolist()[:-1])
        assert len(text) == 1000
        spoken = "".join(
            re.findall(r'"(?:content|text|delta)":"([a-z]+)"', "\n".join(stream.lines))
        )
        assert text in spoken


@pytest.mark.nightly  # it needs an engine of its own
async def test_an_engine_that_is_killed_is_an_error_of_the_dialect(
    start_gateway: StartGateway, model_dir: Path, voice: Voice, settings: dict[str, Any]
) -> None:
    """A stream ends with its dialect's error and no end of its own, an unstreamed call with a 503; nothing of it trains."""
    voice.pattern = LONG
    with engine_process(model_dir) as engine:
        async with start_gateway(engine.url, **settings) as served:
            running = streams()
            reading = asyncio.gather(*(stream.read(served) for stream in running))
            asking = asyncio.gather(
                *(
                    served.admin.post(path, json=body | {"model": "policy"})
                    for path, body in BODIES.values()
                )
            )
            for stream in running:
                await stream.begun.wait()
            engine.kill()
            await reading
            refused = await asking
            turns = [await only_turn(served, stream.episode) for stream in running]
    errors = [
        *((stream.name, stream.events[-1]) for stream in running),
        *((name, answer.json()) for name, answer in zip(BODIES, refused, strict=True)),
    ]
    assert [fault for name, error in errors for fault in faults(*form_of(name, error), error)] == []
    assert not any(stream.has_ended_well for stream in running)
    assert all(turn.outputs[0].is_abandoned for turn in turns)
    assert [answer.status_code for answer in refused] == [503] * len(BODIES)
    assert engine.url not in json.dumps(errors)
