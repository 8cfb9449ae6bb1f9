"""Case 25: an image is one placeholder in the text, a run of them in what the model reads, and known by its bytes."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.engines import start_engine
from tests.fidelity.agent import NEXT, ask, saying
from tests.fidelity.received import EPISODE, assert_exact, assert_one_row
from tests.fidelity.recorder import EngineCall, Recorder, recording
from tests.gateways import Gateway, StartGateway
from tests.pictures import claiming, digest, looking, png

pytestmark = pytest.mark.engine
SIX_TOKENS, EIGHT_TOKENS = (64, 96), (128, 64)  # 32 pixels a side are a token


@pytest.fixture(scope="module")
def vision_engine(vision_dir: Path) -> Iterator[str]:
    with start_engine(vision_dir) as url:
        yield url


@pytest.fixture
async def recorder(vision_engine: str) -> AsyncIterator[Recorder]:
    async with recording(vision_engine) as recorder:
        yield recorder


@pytest.fixture
async def served(
    start_gateway: StartGateway, recorder: Recorder, vision_dir: Path
) -> AsyncIterator[Gateway]:
    async with start_gateway(recorder, model_dir=vision_dir) as running:
        yield running


@pytest.fixture(scope="module")
def placeholder(vision_dir: Path) -> int:
    return Tokenizer.load(vision_dir).encode("<|image_pad|>")[0]


async def test_images_are_recorded_as_the_engine_expanded_them(
    served: Gateway, recorder: Recorder, placeholder: int
) -> None:
    """Turns that add images go on with the expanded ids; the images are sent again, one placeholder for each."""
    red, blue = png("red", SIX_TOKENS), png("blue", EIGHT_TOKENS)
    asked = looking(red, "What is it?")
    first = await ask(served, [asked], **saying("A melon."))
    again = [asked, first["message"], looking(blue, "And this?")]
    second = await ask(served, again, **saying("A fig."))
    await ask(served, [*again, second["message"], NEXT], **saying("Two."))

    calls = turns(recorder)
    row = await assert_one_row(served, calls)
    assert [call.images for call in calls] == [[red], [red, blue], [red, blue]]
    assert [(image.digest, image.length) for image in row.media] == [
        (digest(red), 6),
        (digest(blue), 8),
    ]
    for image in row.media:
        assert (row.tokens[image.start : image.end] == placeholder).all()
    assert (row.tokens == placeholder).sum() == 14
    shown = (await served.admin.get(f"/v1/episodes/{EPISODE}?view=sequences")).json()["data"][0]
    assert [(m["digest"], m["start"]) for m in shown["media"]] == [
        (image.digest, image.start) for image in row.media
    ]


async def test_two_images_that_look_alike_as_tokens_are_two_branches(
    served: Gateway, recorder: Recorder, placeholder: int
) -> None:
    """The same words about another image of the same size share the ids before it and nothing after."""
    red, blue = png("red", SIX_TOKENS), png("blue", SIX_TOKENS)
    for seen in (red, blue):
        first = await ask(served, [looking(seen, "What is it?")], **saying("A melon."))
        await ask(served, [looking(seen, "What is it?"), first["message"], NEXT], **saying("4."))

    calls = turns(recorder)
    rows = await assert_exact(served, calls)
    view = (await served.admin.get(f"/v1/episodes/{EPISODE}?view=tokens")).json()["data"]
    seen_in = [media["digest"] for span in view for media in span["media"]]
    assert calls[0].prompt == calls[2].prompt
    assert len(rows) == 2
    assert {row.media[0].digest for row in rows} == {digest(red), digest(blue)}
    assert sorted(seen_in) == sorted([digest(red), digest(blue)])
    (other,) = [span for span in view if span["media"] and span["parent"]]
    assert other["tokens"][0] == placeholder
    assert other["offset"] == calls[0].prompt.index(placeholder)


async def test_an_edit_behind_an_image_shares_the_image(
    served: Gateway, recorder: Recorder
) -> None:
    """A branch keeps the longest common prefix also where an image is part of it; streamed turns are checked alike."""
    red = png("red", SIX_TOKENS)
    await ask(served, [looking(red, "What is it?")], **saying("A melon."))
    async with served.openai() as client:
        stream = await client.chat.completions.create(
            model="policy",
            messages=[looking(red, "Who is it?")],
            stream=True,
            extra_headers={"X-Turngate-Episode": EPISODE},
            extra_body=saying("Nobody."),
        )
        text = "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

    rows = await assert_exact(served, turns(recorder))
    stored = await served.store.turns(EPISODE)
    assert text == "Nobody."
    assert [row.media[0].length for row in rows] == [6, 6]
    assert [len(turn.media) for turn in stored] == [1, 0]
    measured = [call for call in recorder.calls if call.rid.startswith("image_")]
    assert len(measured) == 1


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://example.org/melon.png", "this gateway fetches nothing"),
        ("file:///etc/passwd", "this gateway fetches nothing"),
        ("data:image/png;base64,AAA?", "not valid base64"),
        ("data:image/png;base64,AAAA", "cannot read it as an image"),
    ],
)
async def test_what_is_no_image_is_refused(
    served: Gateway, recorder: Recorder, url: str, why: str
) -> None:
    """Nothing is fetched, and what no engine can read is the caller's mistake."""
    answer = await refused(served, looking(url, "What is it?"))
    assert why in answer["message"]
    assert turns(recorder) == []


async def test_an_image_that_is_too_large_harms_nobody(served: Gateway, recorder: Recorder) -> None:
    """SGLang fails where an image would not fit its memory; it is the image that is refused, not the engine."""
    for _ in range(3):
        answer = await refused(served, looking(claiming(60_000, 60_000), "What is it?"))
        assert "is the image too large?" in answer["message"]
        await ask(served, [NEXT], max_tokens=1)
    assert len(turns(recorder)) == 3


async def test_a_placeholder_that_stands_for_no_image_is_refused(
    served: Gateway, recorder: Recorder
) -> None:
    """In text, or sampled, it would be taken for an image and shift all images after it."""
    red = png("red", SIX_TOKENS)
    answer = await refused(served, looking(red, "What is <|image_pad|>?"))
    assert answer["code"] == "ambiguous_images"
    assert turns(recorder) == []


async def test_an_image_of_the_assistant_is_refused(served: Gateway) -> None:
    """No template shows one, so it would be dropped without a word."""
    made = looking(png("red", SIX_TOKENS), "Look.") | {"role": "assistant"}
    answer = await refused(served, made)
    assert answer["code"] == "unsupported_content"


def turns(recorder: Recorder) -> list[EngineCall]:
    """Calls that sampled for somebody; the others asked how long an image is."""
    return [call for call in recorder.calls if call.rid.startswith("turn_")]


async def refused(served: Gateway, message: Any) -> dict[str, Any]:
    """The error of a call that is the caller's mistake."""
    answer = await served.admin.post("/v1/chat/completions", json={"messages": [message]})
    assert answer.status_code == 400, answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error
