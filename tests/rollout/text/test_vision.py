"""An engine is sent placeholders, an episode stores runs."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.episode.turn import TOKEN, Media
from rollout.tokenizer.vision import SizedImage, Vision, collapse

PLACEHOLDER = 5
VISION = Vision(start=3, placeholder=PLACEHOLDER, end=4)
QWEN = {"vision_start_token_id": 3, "image_token_id": PLACEHOLDER, "vision_end_token_id": 4}
words = st.lists(st.sampled_from([1, 2, 3, 4]), max_size=6)
images = st.lists(st.builds(SizedImage, st.sampled_from("abc"), st.integers(1, 9)), max_size=4)


@given(words, st.data(), images)
def test_collapsing_undoes_expanding(
    first: list[int], data: st.DataObject, seen: list[SizedImage]
) -> None:
    """Every image gets its own length, in order, and every other token stays what and where it was."""
    text = [*first]
    whole = [*first]
    for image in seen:
        rest = data.draw(words)
        text += [PLACEHOLDER, *rest]
        whole += [PLACEHOLDER] * image.length + rest

    expanded, media = VISION.expand(np.array(text, TOKEN), seen)

    assert expanded.tolist() == whole
    assert [(m.digest, m.length) for m in media] == seen
    assert all((expanded[m.start : m.end] == PLACEHOLDER).all() for m in media)
    assert collapse(expanded, media).tolist() == text


def test_the_example_in_the_docstring_holds() -> None:
    """7 P 8 P 9 with images of two and three tokens."""
    ids, media = VISION.expand(
        np.array([7, 5, 8, 5, 9], TOKEN), [SizedImage("a", 2), SizedImage("b", 3)]
    )
    assert ids.tolist() == [7, 5, 5, 8, 5, 5, 5, 9]
    assert media == (Media("a", 1, 2), Media("b", 4, 3))


@pytest.mark.parametrize(
    ("config", "sees"), [(QWEN, True), ({}, False), ({"image_token_id": 5}, False)]
)
def test_a_model_sees_if_its_configuration_names_the_tokens(
    tmp_path: Path, config: dict[str, int], *, sees: bool
) -> None:
    """Without all three of them a prompt with an image could not be written."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert (Vision.load(tmp_path) == VISION) is sees
