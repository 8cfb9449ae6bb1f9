"""Training jobs under several layouts, run by torchrun; rank 0 leaves what each learned in a file.

usage: layout_job.py OUT_DIR MINIBATCHES_MODEL_DIR NAME=MODEL_DIR,TENSOR,PIPELINE,SEQUENCE,EXPERT,CONTEXT,RANK,CRITICS ...
"""

import sys
from pathlib import Path
from typing import Any

import torch

from tests.trainer.batch.test_batch import claim, turn
from tests.trainer.megatron.packing import (
    microbatch,
    random_sequences,
    score_function,
    squared_error,
)
from trainer.algorithms import RunningBaseline
from trainer.batch.batch import prepare
from trainer.composition.composition import Composition
from trainer.learner.layout import Layout
from trainer.learner.lora import Lora
from trainer.learner.microbatch import TrainBatch
from trainer.learner.optimizer import OptimizerSettings
from trainer.megatron import platform
from trainer.megatron.learner import MegatronLearner
from trainer.objective.measure import measure
from trainer.objective.objective import Objective
from trainer.objective.steps import take_steps

# Lengths of the sequences of each microbatch, and in a tree the tokens they continue.
MICROBATCHES = (
    ((9, 30, 4), None),
    ((17, 22), None),
    ((5, 5, 5, 40), (-1, 2, 7, -1)),
    ((33,), None),
    ((12, 3), (-1, 11)),
)


def train(learner: MegatronLearner, *, steps: int, critics: int = 0) -> dict[str, object]:
    """Logprobs, then steps and the weights they lead to, and steps of the critic and what it says after them, if there is one.

    Five microbatches give two ranks unequal shares.
    """
    parts = [
        microbatch(
            random_sequences(lengths, vocabulary=131, seed=index), denominator=180, parents=parents
        )
        for index, (lengths, parents) in enumerate(MICROBATCHES)
    ]
    whole = TrainBatch(tuple(parts))
    logprobs = learner.logprobs(whole)
    metrics = [learner.step(whole, score_function) for _ in range(steps)]
    critic = [learner.step_critic(whole, squared_error) for _ in range(steps * critics)]
    return {
        "logprobs": torch.cat(logprobs),
        "values": torch.cat(learner.values(whole)) if critic else torch.empty(0),
        "steps": [(m.loss, m.gradient_norm, m.sums["tokens"], m.sums["entropy"]) for m in metrics],
        "critic_steps": [(m.loss, m.gradient_norm, m.sums["tokens"]) for m in critic],
        "weights": dict(learner.export()) | dict(learner.export_adapters()),
    }


def create(model_dir: Path, layout: Layout, rank: int = 0, critics: int = 0) -> MegatronLearner:
    """With adapters of this rank, or none at 0, and with one critic or none."""
    settings = OptimizerSettings(1e-2, epsilon=1e-3, warmup_steps=2)
    lora = Lora(rank, alpha=2.0 * rank) if rank else None
    critic = settings if critics else None
    return MegatronLearner.create(model_dir, settings, layout=layout, lora=lora, critic=critic)


def run(model_dir: Path, layout: Layout, extras: tuple[int, int], target: Path) -> None:
    with create(model_dir, layout, *extras) as learner:
        first = train(learner, steps=2, critics=extras[1])
        learner.begin_save(target.with_suffix(".checkpoint"), {"cursor": 7}).result()
        second = train(learner, steps=2, critics=extras[1])
        if learner.is_primary:
            torch.save((first, second), target.with_suffix(".pt"))


def train_minibatches(model_dir: Path) -> dict[str, Any]:
    """Two minibatches, twice, of groups that give the ranks unequal shares."""
    parts = Composition(
        minibatches=2, epochs=2, policy_loss="m2po", m2po_threshold=20.0, correction="none"
    )
    drawn = [
        claim(
            f"g{group}",
            [float(index == group) for index in range(3)],
            # No two tokens have the same past: M2PO takes either of two that moved equally far.
            turns=[
                [turn("t", [10 * group, index], range(3, 8 + 3 * index + group))]
                for index in range(3)
            ],
        )
        for group in range(3)
    ]
    with create(model_dir, Layout()) as learner:
        batch = prepare(
            drawn,
            parts=parts,
            baseline=RunningBaseline(),
            training_version=0,
            token_budget=20,
            ranks=torch.distributed.get_world_size(),
        )
        batch = measure(batch, learner, parts, reference=None)
        steps = take_steps(batch, learner, Objective(parts))
        largest = "importance_weight_max"
        outcome = [
            (m.loss, m.gradient_norm, m.sums["tokens"], m.maxima[largest]) for m in steps.moved
        ]
        return {"steps": outcome, "weights": dict(learner.export())}


def fail_to_save(model_dir: Path, out_dir: Path) -> None:
    """Where only the primary finds a file in the way; each process writes down its error."""
    processes, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    (way := out_dir / f"way{processes}").touch()
    with create(model_dir, Layout()) as learner:
        try:
            learner.begin_save(way / "checkpoint", {}).result()
        except OSError as error:
            (out_dir / f"error{processes}.{rank}").write_text(str(error))


def main() -> None:
    out_dir, minibatches_dir, *jobs = sys.argv[1:]
    platform.install(0)
    torch.distributed.init_process_group(platform.backend())
    for job in jobs:
        name, _, description = job.partition("=")
        model_dir, *sizes = description.split(",")
        tensor, pipeline, sequence, expert, context, *extras = map(int, sizes)
        layout = Layout(tensor, pipeline, expert, context, sequence_parallel=bool(sequence))
        run(Path(model_dir), layout, (extras[0], extras[1]), Path(out_dir) / name)
    minibatches = train_minibatches(Path(minibatches_dir))
    if torch.distributed.get_rank() == 0:
        processes = torch.distributed.get_world_size()
        torch.save(minibatches, Path(out_dir) / f"minibatches{processes}.pt")
    fail_to_save(Path(minibatches_dir), Path(out_dir))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
