"""One training job under a layout, run by torchrun; rank 0 leaves what it learned in a file.

usage: layout_job.py MODEL_DIR OUT_DIR NAME=TENSOR,PIPELINE,SEQUENCE_PARALLEL ...
"""

import sys
from pathlib import Path

import torch

from tests.trainer.megatron.packing import batch, random_sequences, score_function
from trainer.megatron.layout import Layout
from trainer.megatron.learner import Learner
from trainer.megatron.optimizer import OptimizerSettings

LENGTHS = ((9, 30, 4), (17, 22), (5, 5, 5, 40), (33,), (12, 3))


def train(model_dir: Path, layout: Layout, checkpoint: Path | None = None) -> dict[str, object]:
    """Logprobs, four steps and the weights they lead to; five microbatches, so that two ranks get unequal shares."""
    settings = OptimizerSettings(1e-2, epsilon=1e-3, warmup_steps=2)
    packs = [random_sequences(n, vocabulary=131, seed=i) for i, n in enumerate(LENGTHS)]
    with Learner.create(model_dir, settings, layout=layout) as learner:
        whole = batch(*packs)
        logprobs = learner.logprobs(whole)
        metrics = [learner.step(whole, score_function) for _ in range(2)]
        if checkpoint is not None:
            learner.save(checkpoint, {"cursor": 7})
        metrics += [learner.step(whole, score_function) for _ in range(2)]
        return {
            "logprobs": torch.cat(logprobs),
            "steps": [(m.loss, m.gradient_norm, m.sums["tokens"], m.sums["entropy"]) for m in metrics],
            "weights": dict(learner.export()),
            "primary": learner.is_primary,
        }


def main() -> None:
    model_dir, out_dir, *jobs = sys.argv[1:]
    for job in jobs:
        name, _, sizes = job.partition("=")
        tensor, pipeline, sequence = (int(size) for size in sizes.split(","))
        layout = Layout(tensor, pipeline, sequence_parallel=bool(sequence))
        result = train(Path(model_dir), layout, Path(out_dir) / f"checkpoint-{name}")
        if result["primary"]:
            torch.save(result, Path(out_dir) / f"{name}.pt")


if __name__ == "__main__":
    main()
