"""A process that continues a checkpoint of another, and is killed while it writes one itself.

usage: resume_job.py MODEL_DIR DIRECTORY
"""

import os
import signal
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.trainer.megatron.packing import score_function
from trainer.learner.microbatch import TrainBatch
from trainer.learner.optimizer import OptimizerSettings
from trainer.megatron.learner import MegatronLearner


def main(model_dir: Path, directory: Path) -> None:
    batch = TrainBatch((torch.load(directory / "pack.pt", weights_only=False),))
    learner = MegatronLearner.create(model_dir, OptimizerSettings(learning_rate=1e-2))
    learner.load(directory / "two")
    for _ in range(2):
        learner.step(batch, score_function)
    save_file(dict(learner.export()), directory / "weights.safetensors")
    learner.begin_save(directory / "four", {})
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
