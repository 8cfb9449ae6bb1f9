"""A model's own template with its tokenizer, and a tokenizer without a template."""

from pathlib import Path

import pytest

from tests.rollout import shipped_templates
from tests.rollout.model_directory import byte_level_bpe, write_model_directory


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> shipped_templates.ShippedTemplates:
    return shipped_templates.ShippedTemplates(tmp_path_factory.mktemp("families"))


@pytest.fixture(scope="module")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model_directory(tmp_path_factory.mktemp("bare"), byte_level_bpe(vocab_size=400))
