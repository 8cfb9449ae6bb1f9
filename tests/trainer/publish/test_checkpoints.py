"""The directory of checkpoints: which of them are read, and what is kept aside."""

from pathlib import Path

from trainer.publish.checkpoints import Checkpoints


def test_one_damaged_checkpoint_is_kept(tmp_path: Path) -> None:
    """It is not read again, and the next one that is set aside takes its place."""
    for version in (3, 4, 5):
        (tmp_path / f"v{version:08}" / "rank0").mkdir(parents=True)
    checkpoints = Checkpoints(tmp_path, every_steps=1, keep=2)
    checkpoints.set_aside(5)
    checkpoints.set_aside(4)
    assert checkpoints.newest() == 3
    assert [path.name for path in tmp_path.glob("*.damaged")] == ["v00000004.damaged"]
