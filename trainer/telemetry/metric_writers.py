"""Where else the numbers of a step go: TensorBoard's event files, Weights & Biases's offline runs.

Each is an optional extra, imported only where its setting names a directory. Neither opens a connection or wants an account;
`wandb sync` uploads an offline run when its owner says so.
"""

import importlib.util
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

SECTION = "training"  # groups the charts


class MetricWriter(Protocol):
    def write(self, step: int, values: Mapping[str, float]) -> None:
        """The batch that ended with this optimizer step."""

    def close(self) -> None:
        """Nothing follows."""


class TensorBoardWriter:
    def __init__(self, directory: Path, *, after_step: int = 0) -> None:
        """What an earlier life wrote beyond `after_step`, where this one resumes, is taken back."""
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an optional extra

        self._events = SummaryWriter(str(directory), purge_step=after_step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._events.add_scalar(f"{SECTION}/{name}", value, step)
        self._events.flush()

    def close(self) -> None:
        self._events.close()


class WandbWriter:
    """One offline run per life of the trainer; the group is what they share."""

    def __init__(self, directory: Path, *, project: str) -> None:
        os.environ["WANDB_ERROR_REPORTING"] = "false"  # read when it is imported
        import wandb  # noqa: PLC0415 - an optional extra

        logging.getLogger("wandb").setLevel(logging.WARNING)
        directory.mkdir(parents=True, exist_ok=True)
        quiet = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True
        )
        self._end_process = wandb.teardown
        self._run = wandb.init(
            mode="offline", dir=directory, project="turngate", group=project, settings=quiet
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({f"{SECTION}/{name}": value for name, value in values.items()}, step=step)

    def close(self) -> None:
        """The file is whole once the process that writes it has ended."""
        self._run.finish()
        self._end_process()


def ensure_installed(package: str) -> None:
    """ValueError with the remedy where an optional extra, named like its package, is missing."""
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"{package} is not installed; pip install 'turngate[{package}]'")
