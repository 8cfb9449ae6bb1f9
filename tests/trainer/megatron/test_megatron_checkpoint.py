"""Checkpoints: resuming equals not having stopped, and a damaged or foreign one is refused."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.trainer.megatron.conftest import Reference, random_reference
from tests.trainer.megatron.packing import score_function
from trainer.learner.errors import CheckpointError
from trainer.learner.microbatch import Microbatch, TrainBatch
from trainer.megatron.learner import MegatronLearner

Create = Callable[..., MegatronLearner]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_resumed_run_is_bit_equal_to_one_that_never_stopped(
    qwen3: Reference, create: Create, one_pack: Microbatch, tmp_path: Path, dtype: torch.dtype
) -> None:
    """Weights, moments, schedule, random state and the caller's state all come back."""
    settings = {"schedule": "cosine", "warmup_steps": 2, "decay_steps": 9, "dtype": dtype}
    batch = TrainBatch((one_pack,))
    unbroken = create(qwen3.directory, **settings)
    for _ in range(3):
        unbroken.step(batch, score_function)
    unbroken.begin_save(tmp_path / "three", {"version": 3, "seen": ["a", "b"]}).result()
    expected = [unbroken.step(batch, score_function) for _ in range(3)]
    draw = torch.rand(4)

    resumed = create(qwen3.directory, **settings)
    assert resumed.load(tmp_path / "three") == {"version": 3, "seen": ["a", "b"]}
    assert resumed.steps == 3
    assert [resumed.step(batch, score_function) for _ in range(3)] == expected
    assert torch.equal(torch.rand(4), draw)
    weights = dict(unbroken.export())
    assert all(torch.equal(weights[name], weight) for name, weight in resumed.export())


def test_a_resumed_run_goes_by_its_own_settings(
    qwen3: Reference, create: Create, one_pack: Microbatch, tmp_path: Path
) -> None:
    """A learning rate and an epsilon that changed between two runs apply at once; the checkpoint's do not."""
    batch = TrainBatch((one_pack,))
    first = create(qwen3.directory, learning_rate=1e-2, epsilon=1e-8)
    first.step(batch, score_function)
    first.begin_save(tmp_path / "one", {}).result()
    second = create(qwen3.directory, learning_rate=5e-3, epsilon=1e6)
    second.load(tmp_path / "one")
    before = dict(second.export())
    assert second.step(batch, score_function).learning_rate == 5e-3
    assert all(
        torch.allclose(before[name], weight, rtol=0, atol=1e-5) for name, weight in second.export()
    )


def test_training_goes_on_while_a_checkpoint_is_written(
    qwen3: Reference, create: Create, one_pack: Microbatch, tmp_path: Path
) -> None:
    """Two saves begun around a step hold the weights of the moment they were begun."""
    batch = TrainBatch((one_pack,))
    learner = create(qwen3.directory)
    saves, weights = [], []
    for name in ("before", "after"):
        learner.step(batch, score_function)
        weights.append(dict(learner.export()))
        saves.append(learner.begin_save(tmp_path / name, {}))
    learner.step(batch, score_function)
    for save in saves:
        save.result()
    for name, expected in zip(("before", "after"), weights, strict=True):
        learner.load(tmp_path / name)
        assert all(torch.equal(expected[key], weight) for key, weight in learner.export())


def test_a_fresh_process_resumes_and_dies_while_saving(
    qwen3: Reference, create: Create, one_pack: Microbatch, tmp_path: Path
) -> None:
    """Two steps, a checkpoint and two steps of another process are four steps bit for bit; killed in a save, it leaves the first."""
    learner = create(qwen3.directory)
    for steps in range(4):
        if steps == 2:
            learner.begin_save(tmp_path / "two", {}).result()
        learner.step(TrainBatch((one_pack,)), score_function)
    torch.save(one_pack, tmp_path / "pack.pt")

    job = Path(__file__).with_name("resume_job.py")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run(
        [sys.executable, job, qwen3.directory, tmp_path], timeout=120, env=environment, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    weights = load_file(tmp_path / "weights.safetensors")
    assert all(torch.equal(weights[name], weight) for name, weight in learner.export())
    assert learner.load(tmp_path / "two") == {}
    assert not (tmp_path / "four").exists()


def test_a_save_that_was_cut_off_leaves_nothing_under_its_name(
    qwen3: Reference, create: Create, tmp_path: Path
) -> None:
    """The files of an earlier, killed save are replaced, and only the complete checkpoint appears."""
    leftover = tmp_path / ".one.partial"
    leftover.mkdir()
    (leftover / "rank00000.safetensors").write_bytes(b"half")
    learner = create(qwen3.directory)
    learner.begin_save(tmp_path / "one", {}).result()
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert learner.load(tmp_path / "one") == {}


def test_a_full_disk_costs_the_checkpoint_and_nothing_else(
    qwen3: Reference, create: Create, one_pack: Microbatch, tmp_path: Path
) -> None:
    """A save that runs out of space is an OSError, leaves no file, and the learner continues."""
    learner = create(qwen3.directory)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="cannot write"):
            learner.begin_save(tmp_path / "one", {}).result()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    assert not learner.step(TrainBatch((one_pack,)), score_function).skipped
    learner.begin_save(tmp_path / "one", {}).result()
    assert learner.load(tmp_path / "one") == {}


@pytest.fixture
def learner(qwen3: Reference, create: Create) -> MegatronLearner:
    return create(qwen3.directory)


def truncate(checkpoint: Path) -> None:
    data = next(checkpoint.glob("rank*.safetensors"))
    data.write_bytes(data.read_bytes()[:-1])


def flip_a_byte(checkpoint: Path) -> None:
    data = next(checkpoint.glob("rank*.safetensors"))
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)


def lose_a_file(checkpoint: Path) -> None:
    next(checkpoint.glob("rank*.safetensors")).unlink()


def lose_the_manifest(checkpoint: Path) -> None:
    (checkpoint / "manifest.json").unlink()


def cut_the_manifest(checkpoint: Path) -> None:
    manifest = checkpoint / "manifest.json"
    manifest.write_text(manifest.read_text()[:40])


def write_another_format(checkpoint: Path) -> None:
    manifest = checkpoint / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 99}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "is missing or not"),
        (flip_a_byte, r"the content of rank00000\.safetensors has changed"),
        (lose_a_file, "is missing or not"),
        (lose_the_manifest, "not a complete checkpoint"),
        (cut_the_manifest, "is damaged"),
        (write_another_format, "has format 99"),
    ],
)
def test_a_damaged_checkpoint_is_refused_before_a_weight_is_touched(
    learner: MegatronLearner,
    one_pack: Microbatch,
    tmp_path: Path,
    damage: Callable[[Path], None],
    message: str,
) -> None:
    """The error names what is wrong and the learner stays as it was."""
    learner.begin_save(tmp_path / "one", {}).result()
    learner.step(TrainBatch((one_pack,)), score_function)
    before = dict(learner.export())
    damage(tmp_path / "one")
    with pytest.raises(CheckpointError, match=message):
        learner.load(tmp_path / "one")
    assert learner.steps == 1
    assert all(torch.equal(before[name], weight) for name, weight in learner.export())


def test_a_checkpoint_holds_numbers_and_text_alone(
    learner: MegatronLearner, tmp_path: Path
) -> None:
    """Its files are safetensors and JSON: loading one runs no code, whoever wrote it."""
    learner.begin_save(tmp_path / "one", {}).result()
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["manifest.json", "rank00000.safetensors"]
    assert json.loads((tmp_path / "one" / "manifest.json").read_text())["format"] == 2
    assert load_file(tmp_path / "one" / "rank00000.safetensors")


def test_a_checkpoint_of_another_model_is_refused(
    qwen3: Reference, create: Create, tmp_path: Path
) -> None:
    """The error names the first difference between the models."""
    create(qwen3.directory).begin_save(tmp_path / "one", {}).result()
    other = create(random_reference("qwen2", tmp_path / "qwen2").directory)
    with pytest.raises(CheckpointError, match="another model: name is 'Qwen3ForCausalLM'"):
        other.load(tmp_path / "one")


def test_a_checkpoint_is_never_overwritten(
    qwen3: Reference, create: Create, tmp_path: Path
) -> None:
    """Saving under a taken name is refused, and so is loading a directory that is none."""
    learner = create(qwen3.directory)
    learner.begin_save(tmp_path / "one", {}).result()
    with pytest.raises(CheckpointError, match="never overwritten"):
        learner.begin_save(tmp_path / "one", {}).result()
    with pytest.raises(CheckpointError, match="not a complete checkpoint"):
        learner.load(tmp_path / "two")
