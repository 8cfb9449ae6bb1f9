"""Two processes are one process: tensor, sequence, pipeline and data parallelism change no number."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.megatron.conftest import Reference, random_reference
from tests.trainer.megatron.layout_job import create, train
from trainer.megatron.layout import Layout

# name: model, tensor parallel, pipeline parallel, sequence parallel; the rest is data parallel
JOBS = {
    "data": ("qwen3", 1, 1, 0),
    "tensor": ("qwen3", 2, 1, 0),
    "sequence": ("qwen3", 2, 1, 1),
    "pipeline": ("qwen3", 1, 2, 0),
    "untied-tensor": ("qwen3-untied", 2, 1, 0),
    "untied-pipeline": ("qwen3-untied", 1, 2, 0),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reference]:
    names = {model for model, *_ in JOBS.values()}
    return {name: random_reference(name, tmp_path_factory.mktemp(name)) for name in names}


@pytest.fixture(scope="module")
def results(models: dict[str, Reference], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes make of each job, in one torchrun."""
    directory = tmp_path_factory.mktemp("layouts")
    jobs = [
        f"{name}={models[model].directory},{','.join(map(str, sizes))}"
        for name, (model, *sizes) in JOBS.items()
    ]
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    subprocess.run(
        [sys.executable, *torchrun, Path(__file__).with_name("layout_job.py"), directory, *jobs],
        check=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return directory


@pytest.fixture(scope="module")
def alone(models: dict[str, Reference]) -> dict[str, list[dict[str, Any]]]:
    """What one process makes of each model: two steps, and two more."""
    outcomes = {}
    for name, model in models.items():
        with create(model.directory, Layout()) as learner:
            outcomes[name] = [train(learner, steps=2) for _ in range(2)]
    return outcomes


def assert_same(measured: dict[str, Any], expected: dict[str, Any]) -> None:
    torch.testing.assert_close(measured["logprobs"], expected["logprobs"], atol=1e-5, rtol=0)
    steps = [torch.tensor(result["steps"]) for result in (measured, expected)]
    torch.testing.assert_close(*steps, atol=1e-5, rtol=1e-5)
    assert measured["weights"].keys() == expected["weights"].keys()
    for name, weight in expected["weights"].items():
        torch.testing.assert_close(measured["weights"][name], weight, atol=1e-5, rtol=0)


@pytest.mark.parametrize("job", JOBS)
def test_a_layout_is_equal_to_one_process(
    results: Path, alone: dict[str, list[dict[str, Any]]], job: str
) -> None:
    """Logprobs, loss, gradient norm and weights agree to 1e-5 over four steps."""
    measured = torch.load(results / f"{job}.pt")
    for part, expected in zip(measured, alone[JOBS[job][0]], strict=True):
        assert_same(part, expected)


@pytest.mark.parametrize("job", JOBS)
def test_a_checkpoint_continues_under_another_layout(
    models: dict[str, Reference],
    results: Path,
    alone: dict[str, list[dict[str, Any]]],
    job: str,
) -> None:
    """What two processes saved after two steps, one process continues as if it had taken them."""
    model = JOBS[job][0]
    with create(models[model].directory, Layout()) as learner:
        assert learner.load(results / f"{job}.checkpoint") == {"cursor": 7}
        assert learner.steps == 2
        assert_same(train(learner, steps=2), alone[model][1])
