"""Turns with images when engines fail; `tests/fidelity/test_images.py` has the rest."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, spell
from tests.gateways import Gateway, StartGateway
from tests.pictures import looking, png
from tests.scripted_engine import Abort, Length, ScriptedEngine, Tokens

EPISODE = {"X-Turngate-Episode": "ep_1"}
BODY = {"messages": [looking(png("red", (64, 64)), "What is it?")]}


@pytest.fixture(scope="module")
def seeing(vision_dir: Path) -> Tokenizer:
    return Tokenizer.load(vision_dir)


@pytest.fixture
async def served(
    start_gateway: StartGateway, scripted: ScriptedEngine, vision_dir: Path, seeing: Tokenizer
) -> AsyncIterator[Gateway]:
    scripted.default = (*spell(seeing, "A melon."), end_of_turn(seeing))
    scripted.expand = expanding(seeing, length=2)
    async with start_gateway(scripted, model_dir=vision_dir) as running:
        yield running


async def test_a_turn_that_was_sampled_after_another_prompt_fails(
    served: Gateway, scripted: ScriptedEngine, seeing: Tokenizer
) -> None:
    """A turn fails if an engine expands an image to another length than before."""
    first = await served.admin.post("/v1/chat/completions", json=BODY, headers=EPISODE)
    scripted.expand = expanding(seeing, length=3)
    second = await served.admin.post("/v1/chat/completions", json=BODY, headers=EPISODE)
    turns = await served.store.turns("ep_1")
    assert (first.status_code, second.status_code) == (200, 503)
    assert second.json()["error"]["code"] == "engine_unavailable"
    assert scripted.url not in second.text
    assert [turn.media[0].length for turn in turns] == [2]


async def test_a_turn_goes_on_with_its_images_where_an_engine_gave_up(
    served: Gateway, scripted: ScriptedEngine, seeing: Tokenizer
) -> None:
    """The successor gets one placeholder for each image, the images, and what was sampled so far."""
    sampled = seeing.encode("A red")
    scripted.script(Tokens([1]), Length())  # how long the image is
    scripted.script(Tokens(sampled), Abort())
    streamed = await served.admin.post(
        "/v1/chat/completions", json=BODY | {"stream": True}, headers=EPISODE
    )
    (turn,) = await served.store.turns("ep_1")
    _, first, went_on = scripted.requests
    assert streamed.status_code == 200
    assert went_on["image_data"] == first["image_data"]
    assert went_on["input_ids"] == first["input_ids"] + sampled
    assert turn.context_ids.tolist() == scripted.expand(first["input_ids"])
    assert turn.outputs[0].ids[: len(sampled)].tolist() == sampled


def expanding(tokenizer: Tokenizer, *, length: int) -> Callable[[list[int]], list[int]]:
    """Gives every image `length` tokens."""
    (placeholder,) = tokenizer.encode("<|image_pad|>")

    def expand(ids: list[int]) -> list[int]:
        return [id_ for each in ids for id_ in [each] * (length if each == placeholder else 1)]

    return expand
