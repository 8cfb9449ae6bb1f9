"""The data directory: one owner, private secrets, whole files."""

import os
import stat
from pathlib import Path

import pytest

from deploy.data_directory import DataDirectory, read_json, write_json
from deploy.errors import DataDirectoryInUse
from deploy.stack.secrets import Secrets


def test_a_second_owner_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    """Two supervisors never share a directory; the lock goes with its owner."""
    directory = DataDirectory.create(tmp_path / "data")
    with directory.owned():
        assert directory.owner() == os.getpid()
        with (
            pytest.raises(DataDirectoryInUse, match=f"pid {os.getpid()}.*turngate down"),
            directory.owned(),
        ):
            raise AssertionError("two owners")

    assert directory.owner() is None
    with directory.owned():
        assert directory.owner() == os.getpid()


def test_secrets_are_generated_once_and_for_the_owner_only(tmp_path: Path) -> None:
    """No two directories share a key, and no other user can read one."""
    first = DataDirectory.create(tmp_path / "first")
    secrets = Secrets.load(first)

    assert Secrets.load(first) == secrets
    other = Secrets.load(DataDirectory.create(tmp_path / "second"))
    assert other.admin_key != secrets.admin_key
    assert other.redis_password != secrets.redis_password
    assert stat.S_IMODE(first.secrets.stat().st_mode) == 0o600
    assert stat.S_IMODE(first.root.stat().st_mode) == 0o700


def test_a_half_written_file_reads_as_nothing(tmp_path: Path) -> None:
    """A state that a crash cut short does not stop the next start."""
    file = tmp_path / "state.json"
    write_json(file, {"gateway": "http://127.0.0.1:8000"})
    whole = read_json(file)
    file.write_text(file.read_text()[:-4])

    assert whole == {"gateway": "http://127.0.0.1:8000"}
    assert read_json(file) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
