"""The starter: a model directory that everything can load, made once."""

import json
import subprocess
import sys
from inspect import getsource
from itertools import islice
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from safetensors.numpy import load_file

from deploy.demo.clerk.demonstrations import clean_chat
from deploy.demo.clerk.subject import CLEAN_CHATS, CLERK, SLOPPY_CHATS, chats
from deploy.demo.clerk.tasks import training_tasks
from deploy.demo.starter.starter import (
    create_untrained,
    ensure_starter,
    recipe_digest,
)
from deploy.demo.subjects import SUBJECTS, SubjectName, subject_named
from deploy.errors import SettingsInvalid


def test_untrained_model_has_the_shape_it_states(model_dir: Path) -> None:
    """Every tensor of a tied two-layer Qwen3 is there with the shape that config.json implies, and no other."""
    config = json.loads((model_dir / "config.json").read_text())
    weights = load_file(model_dir / "model.safetensors")
    hidden, head = config["hidden_size"], config["head_dim"]

    assert weights["model.embed_tokens.weight"].shape == (config["vocab_size"], hidden)
    assert weights["model.layers.1.self_attn.k_proj.weight"].shape == (2 * head, hidden)
    assert weights["model.layers.1.mlp.down_proj.weight"].shape == (hidden, 2 * hidden)
    assert "lm_head.weight" not in weights
    assert len(weights) == 2 + 11 * config["num_hidden_layers"]
    assert {tensor.dtype for tensor in weights.values()} == {np.dtype(np.float32)}


def test_seed_decides_the_weights(tmp_path: Path) -> None:
    """The same seed writes the same bytes, another seed writes others."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        create_untrained(tmp_path / name, seed, layers=1, hidden=64)
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")

    assert a == b
    assert a != c


def test_making_an_untrained_model_loads_no_torch(tmp_path: Path) -> None:
    """The command line can make one in an environment without a trainer."""
    code = (
        "import sys; from pathlib import Path; from deploy.demo.starter.starter import create_untrained; "
        f"create_untrained(Path({str(tmp_path)!r}), 0); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert (tmp_path / "model.safetensors").exists()


def test_chats_are_clean_first_and_sloppy_last() -> None:
    """The first batches are a clean clerk's, and there are exactly as many chats as the recipe trains on."""
    everything = list(chats(0))
    tasks = list(islice(training_tasks("demonstrations-0"), CLEAN_CHATS))

    assert everything[: len(tasks)] == [clean_chat(task) for task in tasks]
    assert len(everything) == CLEAN_CHATS + SLOPPY_CHATS


def test_a_subjects_own_text_names_its_starter() -> None:
    """How many chats there are is in the text of the subject, so that another number gives another starter."""
    for subject in SUBJECTS.values():
        assert any(
            "CLEAN_CHATS, SLOPPY_CHATS = " in getsource(module) for module in subject.sources
        )


def test_every_subject_can_be_named() -> None:
    """The command line takes exactly the names of the subjects, and another is refused with those."""
    assert set(get_args(SubjectName)) == set(SUBJECTS)
    with pytest.raises(SettingsInvalid, match=r"no starter 'cook'; choose one of clerk, math"):
        subject_named("cook")


def test_batches_of_demonstrations_are_whole() -> None:
    """The warm start of every subject reads each of its chats once."""
    for subject in SUBJECTS.values():
        assert len(subject.chats(0)) % subject.batch_size == 0


def test_finished_starter_is_used_again(tmp_path: Path) -> None:
    """A directory named by the recipe's digest is taken as it is, and another seed or subject has another name."""
    made = tmp_path / f"starter-{recipe_digest(CLERK, 4)}"
    made.mkdir()
    messages: list[str] = []

    assert ensure_starter(tmp_path, 4, progress=messages.append) == made
    assert str(made) in messages[0]
    others = {recipe_digest(CLERK, 5), recipe_digest(SUBJECTS["math"], 4)}
    assert len({recipe_digest(CLERK, 4), *others}) == 3
