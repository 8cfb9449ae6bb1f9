"""Images in a prompt: each is one placeholder token in the text, and a run of them in what the model reads.

The engine's image processor decides how long a run is. An episode stores whole runs. An engine is sent one placeholder
per image and expands it again, because it takes each placeholder for an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from rollout.episode.turn import Ids, Media
from rollout.tokenizer.model_directory import ModelDirectory


class SizedImage(NamedTuple):
    """An image, by the SHA-256 of its bytes, and how many tokens the model reads for it."""

    digest: str
    length: int


class Vision(msgspec.Struct, frozen=True):
    """The tokens before, for and after an image in the Qwen-VL families."""

    start: int
    placeholder: int
    end: int

    @classmethod
    def load(cls, model_dir: str | Path) -> Vision | None:
        """None for a model that reads text only."""
        config = ModelDirectory(model_dir).config()
        start, end = config.vision_start_token_id, config.vision_end_token_id
        if start is None or config.image_token_id is None or end is None:
            return None
        return cls(start, config.image_token_id, end)

    def num_images(self, ids: Ids) -> int:
        """How many images an engine expects for a prompt that is not expanded."""
        return int(np.count_nonzero(ids == self.placeholder))

    def expand(self, ids: Ids, images: Sequence[SizedImage]) -> tuple[Ids, tuple[Media, ...]]:
        """Repeat every placeholder to the length of its image.

        7 P 8 P 9 with images of two and three tokens  ->  7 P P 8 P P P 9, runs at 1 and 4
        """
        places = np.flatnonzero(ids == self.placeholder)
        repeats = np.ones(len(ids), np.int64)
        repeats[places] = [image.length for image in images]
        starts = (np.cumsum(repeats) - repeats)[places].tolist()
        runs = zip(images, starts, strict=True)
        media = tuple(Media(image.digest, start, image.length) for image, start in runs)
        return np.repeat(ids, repeats), media


def collapse(ids: Ids, media: Sequence[Media]) -> Ids:
    """Leave one placeholder of each run."""
    if not media:
        return ids
    kept = np.ones(len(ids), np.bool_)
    for image in media:
        kept[image.start + 1 : image.end] = False
    return ids[kept]
