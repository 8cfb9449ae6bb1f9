"""What an engine starts with stays there while it starts."""

import shutil
from pathlib import Path

import pytest

from deploy.gateway_api.served_policy import ServedPolicy
from deploy.stack.pinned_policy import pinned


@pytest.fixture
def policy(tmp_path: Path) -> ServedPolicy:
    directory = tmp_path / "weights" / "v00000007"
    directory.mkdir(parents=True)
    (directory / "model.safetensors").write_bytes(b"numbers")
    return ServedPolicy(directory, version=7)


def test_a_policy_that_is_deleted_meanwhile_can_still_be_read(
    policy: ServedPolicy, tmp_path: Path
) -> None:
    """Its files have a second name, which takes no room, until the next start."""
    kept = pinned(policy, tmp_path / "engine-0")
    shared = (kept.path / "model.safetensors").samefile(policy.path / "model.safetensors")
    shutil.rmtree(policy.path)

    assert shared
    assert kept.version == 7
    assert kept.path.name == "v00000007"
    assert (kept.path / "model.safetensors").read_bytes() == b"numbers"


def test_a_downloaded_model_can_be_read_too(policy: ServedPolicy, tmp_path: Path) -> None:
    """Its files are relative links to a cache, and lead there from no other directory."""
    file = policy.path / "model.safetensors"
    (tmp_path / "weights" / "blobs").mkdir()
    file.rename(tmp_path / "weights" / "blobs" / "digest")
    file.symlink_to("../blobs/digest")

    kept = pinned(policy, tmp_path / "run" / "engine-0")

    assert (kept.path / "model.safetensors").read_bytes() == b"numbers"


def test_only_the_latest_is_kept(policy: ServedPolicy, tmp_path: Path) -> None:
    """Each start of an engine gives up what the one before it was started with."""
    pinned(policy, tmp_path / "engine-0")
    newer = ServedPolicy(policy.path.rename(policy.path.with_name("v00000008")), version=8)
    pinned(newer, tmp_path / "engine-0")

    assert [each.name for each in (tmp_path / "engine-0").iterdir()] == ["v00000008"]


def test_a_policy_whose_files_cannot_have_two_names_is_used_where_it_is(
    policy: ServedPolicy,
) -> None:
    """As on another file system, where an engine depends on how many policies are kept."""
    assert pinned(policy, Path("/proc/engine-0")) == policy
