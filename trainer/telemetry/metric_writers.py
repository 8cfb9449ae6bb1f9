"""Other outputs for the numbers of a step: TensorBoard's event files, Weights & Biases's offline runs.

Each is an optional extra, imported only if its setting names a directory. Neither opens a connection or needs an account;
`wandb sync` uploads an offline run later.
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
        """Write the numbers of the batch that ended with this optimizer step."""

    def close(self) -> None:
        """Complete the files."""


class TensorBoardWriter:
    def __init__(self, directory: Path, *, after_step: int = 0) -> None:
        """Training resumes at `after_step`: numbers of later steps, which an earlier process wrote, are hidden."""
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an optional extra

        self._events = SummaryWriter(str(directory), purge_step=after_step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._events.add_scalar(f"{SECTION}/{name}", value, step)
        self._events.flush()

    def close(self) -> None:
        self._events.close()


class WandbWriter:
    """One offline run per trainer process; the runs of a project share a group."""

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
        """The file is complete when the process that writes it has ended."""
        self._run.finish()
        self._end_process()


def ensure_installed(package: str) -> None:
    """ValueError with the remedy if an optional extra, named like its package, is missing."""
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"{package} is not installed; pip install 'turngate[{package}]'")
