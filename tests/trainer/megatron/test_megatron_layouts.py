"""Two and four processes, on one node or two, are one process: tensor, sequence, pipeline, expert, context and data parallelism
change no number.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from deploy.stack.ports import free_ports
from tests.trainer.megatron.conftest import Reference, random_reference
from tests.trainer.megatron.layout_job import create, train, train_minibatches
from trainer.learner.layout import Layout

# By the number of processes: name: model, tensor, pipeline, sequence, expert, context parallel, rank of adapters, number of
# critics; the rest is data parallel. Each dimension is in one of the first lines, which run on every change.
JOBS_OF = {
    2: {
        "data": ("qwen3", 1, 1, 0, 1, 1, 0, 1),
        "sequence": ("qwen3", 2, 1, 1, 1, 1, 0, 1),
        "pipeline": ("qwen3", 1, 2, 0, 1, 1, 0, 1),
        "untied-tensor": ("qwen3-untied", 2, 1, 0, 1, 1, 0, 0),
        "expert-tensor": ("qwen3-moe", 2, 1, 1, 2, 1, 0, 1),
        "expert-context": ("qwen3-moe", 1, 1, 0, 2, 2, 0, 0),
        "tensor": ("qwen3", 2, 1, 0, 1, 1, 0, 1),
        "untied-pipeline": ("qwen3-untied", 1, 2, 0, 1, 1, 0, 0),
        "expert": ("qwen3-moe", 1, 1, 0, 2, 1, 0, 0),
        "experts-split": ("qwen3-moe", 2, 1, 1, 1, 1, 0, 0),
        "adapters-tensor": ("qwen3", 2, 1, 0, 1, 1, 4, 0),
        "experts-pipeline": ("qwen3-moe", 1, 2, 0, 1, 1, 0, 0),
        "context": ("qwen3", 1, 1, 0, 1, 2, 0, 1),
    },
    4: {
        "tensor-context": ("qwen3", 2, 1, 1, 1, 2, 0, 1),
        "adapters-sequence-pipeline": ("qwen3", 2, 2, 1, 1, 1, 4, 0),
        "tensor-pipeline": ("qwen3", 2, 2, 0, 1, 1, 0, 1),
        "tensor-data": ("qwen3", 2, 1, 1, 1, 1, 0, 1),
        "expert-data": ("qwen3-moe", 1, 1, 0, 2, 1, 0, 0),
        "adapters-pipeline-context": ("qwen3", 1, 2, 0, 1, 2, 4, 0),
    },
}
ON_EVERY_CHANGE = {2: 6, 4: 0}  # four processes on two cores take as long as all of these
MINIBATCHES_ON = {2: "qwen3-moe", 4: "qwen3"}
# Four processes that share two cores with other tests wait for each other most of the time.
MOST_SECONDS = 400.0
pytestmark = pytest.mark.timeout(2 * MOST_SECONDS + 100)
JOBS = {name: sizes for jobs in JOBS_OF.values() for name, sizes in jobs.items()}
PARAMETERS = [
    pytest.param(name, marks=[pytest.mark.nightly] if place >= ON_EVERY_CHANGE[processes] else [])
    for processes, jobs in JOBS_OF.items()
    for place, name in enumerate(jobs)
]

Alone = dict[tuple[str, int, int], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def chosen(request: pytest.FixtureRequest) -> set[str]:
    """The jobs that the tests of this run ask for; `minibatches` and the error are in the first of each number of processes."""
    calls = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    numbers = {call["processes"] for call in calls if call.get("processes") in JOBS_OF}
    firsts = {next(iter(JOBS_OF[number])) for number in numbers}
    return firsts | {name for call in calls if (name := call.get("job")) in JOBS}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reference]:
    names = {model for model, *_ in JOBS.values()}
    return {name: random_reference(name, tmp_path_factory.mktemp(name)) for name in names}


@pytest.fixture(scope="module")
def results(
    models: dict[str, Reference], chosen: set[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What several processes make of each job, all of one number under the same torchrun."""
    directory = tmp_path_factory.mktemp("layouts")
    for processes, jobs in JOBS_OF.items():
        described = [
            f"{name}={models[model].directory},{','.join(map(str, sizes))}"
            for name, (model, *sizes) in jobs.items()
            if name in chosen
        ]
        job = [str(Path(__file__).with_name("layout_job.py")), str(directory)]
        job.append(str(models[MINIBATCHES_ON[processes]].directory))
        if described:
            run_everywhere([*job, *described], processes=processes)
    return directory


def run_everywhere(job: list[str], *, processes: int) -> None:
    """Two processes as two nodes of one each, which find each other by torchrun's options alone; four as one node."""
    meeting = ("--nnodes=2", "--master-addr=127.0.0.1", f"--master-port={free_ports(1)[0]}")
    nodes = {
        2: [(*meeting, "--nproc-per-node=1", f"--node-rank={rank}") for rank in range(2)],
        4: [("--standalone", "--nproc-per-node=4")],
    }
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *node, *job], env=environment
        )
        for node in nodes[processes]
    ]
    try:
        assert not any(node.wait(timeout=MOST_SECONDS) for node in started)
    finally:
        for node in started:
            node.terminate()


@pytest.fixture(scope="module")
def alone(models: dict[str, Reference], chosen: set[str]) -> Alone:
    """What one process makes of each model, by its name, the rank of its adapters and the number of its critics: two steps, and
    two more.
    """
    outcomes = {}
    for name, rank, critic in {(JOBS[job][0], *JOBS[job][-2:]) for job in chosen}:
        with create(models[name].directory, Layout(), rank, critic) as learner:
            outcomes[name, rank, critic] = [
                train(learner, steps=2, critics=critic) for _ in range(2)
            ]
    return outcomes


def logprob_rtol(job: str) -> float:
    """Experts that are split add up in another order: 1.3e-5 of a logprob was seen after four steps, in weights less."""
    return 1e-5 if JOBS[job][0] == "qwen3-moe" else 0.0


def assert_same(measured: dict[str, Any], expected: dict[str, Any], *, rtol: float) -> None:
    torch.testing.assert_close(measured["logprobs"], expected["logprobs"], atol=1e-5, rtol=rtol)
    torch.testing.assert_close(measured["values"], expected["values"], atol=1e-5, rtol=0)
    for network in ("steps", "critic_steps"):
        steps = [torch.tensor(result[network]) for result in (measured, expected)]
        torch.testing.assert_close(*steps, atol=1e-5, rtol=1e-5)
    assert measured["weights"].keys() == expected["weights"].keys()
    for name, weight in expected["weights"].items():
        torch.testing.assert_close(measured["weights"][name], weight, atol=1e-5, rtol=0)


@pytest.mark.parametrize("job", PARAMETERS)
def test_a_layout_is_equal_to_one_process(results: Path, alone: Alone, job: str) -> None:
    """Logprobs, values, losses, gradient norms and weights agree to 1e-5 over four steps of policy and critic."""
    model, *_, rank, critic = JOBS[job]
    measured = torch.load(results / f"{job}.pt")
    for part, expected in zip(measured, alone[model, rank, critic], strict=True):
        assert_same(part, expected, rtol=logprob_rtol(job))


@pytest.mark.parametrize("job", PARAMETERS)
def test_a_checkpoint_continues_under_another_layout(
    models: dict[str, Reference], results: Path, alone: Alone, job: str
) -> None:
    """What several processes saved after two steps, one process continues as if it had taken them."""
    model, *_, rank, critic = JOBS[job]
    with create(models[model].directory, Layout(), rank, critic) as learner:
        assert learner.load(results / f"{job}.checkpoint") == {"cursor": 7}
        assert learner.steps == 2
        assert_same(
            train(learner, steps=2, critics=critic),
            alone[model, rank, critic][1],
            rtol=logprob_rtol(job),
        )


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.nightly)])
def test_minibatches_are_the_same_on_any_number_of_processes(
    models: dict[str, Reference], results: Path, processes: int
) -> None:
    """Four steps on two minibatches, each judged by M2PO as a whole, have the losses, norms, largest ratios and weights of one process."""
    measured = torch.load(results / f"minibatches{processes}.pt")

    expected = train_minibatches(models[MINIBATCHES_ON[processes]].directory)

    steps = [torch.tensor(result["steps"]) for result in (measured, expected)]
    torch.testing.assert_close(*steps, atol=1e-5, rtol=1e-5)
    for name, weight in expected["weights"].items():
        torch.testing.assert_close(measured["weights"][name], weight, atol=1e-5, rtol=0)


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.nightly)])
def test_all_processes_learn_that_a_checkpoint_cannot_be_written(
    results: Path, processes: int
) -> None:
    """An error of the primary is raised by the others too, with the same message."""
    errors = {(results / f"error{processes}.{rank}").read_text() for rank in range(processes)}
    assert len(errors) == 1
    assert "Not a directory" in errors.pop()
