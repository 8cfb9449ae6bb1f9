"""A gateway in front of the real SGLang, and between the two a recorder that knows what was sampled."""

import json
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.fidelity.recorder import Recorder, recording
from tests.gateways import Gateway, StartGateway

MODEL_FILES = ("tokenizer.json", "tokenizer_config.json", "config.json")
ModelWith = Callable[..., Path]


@pytest.fixture
async def recorder(engine: str) -> AsyncIterator[Recorder]:
    async with recording(engine) as recorder:
        yield recorder


@pytest.fixture
async def served(start_gateway: StartGateway, recorder: Recorder) -> AsyncIterator[Gateway]:
    async with start_gateway(recorder) as running:
        yield running


@pytest.fixture
def model_with(model_dir: Path, tmp_path: Path, tokenizer: Tokenizer) -> ModelWith:
    """Makes directories of the served model with another chat template; the engine reads ids and does not mind."""

    def make(chat_template: str, *, ends: tuple[str, ...] = ("<|im_end|>",)) -> Path:
        directory = tmp_path / "model"
        directory.mkdir()
        for name in MODEL_FILES:
            shutil.copy(model_dir / name, directory)
        stops = {"eos_token_id": [tokenizer.token_id(end) for end in ends]}
        (directory / "generation_config.json").write_text(json.dumps(stops))
        (directory / "chat_template.jinja").write_text(chat_template)
        return directory

    return make
