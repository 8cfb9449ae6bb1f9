"""The numbers of a step in TensorBoard's and Weights & Biases's files, read back."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto import wandb_internal_pb2 as wandb_records

from tests.trainer.bandit import is_even
from tests.trainer.stand import Place, Stand
from trainer.telemetry.metric_writers import TensorBoardWriter, WandbWriter, ensure_installed


def charted(directory: Path, name: str) -> list[tuple[int, float]]:
    """(step, value) as TensorBoard draws them."""
    events = EventAccumulator(str(directory))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def logged(file: Path) -> Iterator[dict[str, float]]:
    """The history of an offline run: 7 bytes of header, then (checksum, length, kind) before each record."""
    data, at = file.read_bytes(), 7
    while at < len(data):
        _, length, _ = struct.unpack_from("<IHB", data, at)
        record = wandb_records.Record.FromString(data[at + 7 : at + 7 + length])
        at += 7 + length
        if record.WhichOneof("record_type") == "history":
            yield {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }


def test_a_trained_step_is_charted(redis_url: str, model_dir: Path, tmp_path: Path) -> None:
    """Each step's loss and policy version stand in TensorBoard's events under the step's number."""
    events = tmp_path / "events"
    with Stand(Place(redis_url, tmp_path, model_dir), lambda t: float(is_even(t))) as stand:
        stand.writers.append(TensorBoardWriter(events))
        stand.train(rounds=2)
        loss = stand.metric("turngate_training_loss")
        stand.writers[0].close()
    assert charted(events, "training/version") == [(1, 1.0), (2, 2.0)]
    assert charted(events, "training/loss")[-1] == (2, pytest.approx(loss, abs=1e-6))


def test_steps_that_a_crash_undid_are_charted_once(tmp_path: Path) -> None:
    """A trainer that resumes after step 2 hides what its predecessor wrote of step 3."""
    lives = ((0, {1: 0.1, 2: 0.2, 3: 0.3}), (2, {3: 0.5, 4: 0.4}))
    for after_step, losses in lives:
        writer = TensorBoardWriter(tmp_path, after_step=after_step)
        for step, loss in losses.items():
            writer.write(step, {"loss": loss})
        writer.close()
    expected = [(1, 0.1), (2, 0.2), (3, 0.5), (4, 0.4)]
    assert [(s, pytest.approx(v)) for s, v in charted(tmp_path, "training/loss")] == expected


def test_an_offline_run_holds_every_step(tmp_path: Path) -> None:
    """Weights & Biases's file has the numbers under their steps; no account is needed."""
    writer = WandbWriter(tmp_path / "wandb_dir", project="shop")
    writer.write(3, {"loss": 0.5})
    writer.write(4, {"loss": 0.25})
    writer.close()
    (file,) = tmp_path.rglob("offline-run-*/*.wandb")
    history = [(int(row["_step"]), row["training/loss"]) for row in logged(file)]
    assert history == [(3, 0.5), (4, 0.25)]


def test_a_missing_extra_is_named() -> None:
    """If a writer's package is missing, the error names what to install."""
    with pytest.raises(ValueError, match=r"pip install 'turngate\[no_such_writer\]'"):
        ensure_installed("no_such_writer")


class FullDisk:
    def write(self, step: int, values: object) -> None:
        raise OSError(f"no space left for step {step}")

    def close(self) -> None:
        """Nothing was opened."""


def test_a_writer_without_space_does_not_stop_the_training(
    redis_url: str, model_dir: Path, tmp_path: Path
) -> None:
    """It raises an alert per step, and policies are still published."""
    with Stand(Place(redis_url, tmp_path, model_dir), lambda t: float(is_even(t))) as stand:
        stand.writers.append(FullDisk())
        assert stand.train(rounds=2).version == 2
        assert stand.metric("turngate_training_alerts_total", kind="writer") == 2
