"""Policies on disk: whole or absent, verified, never reused."""

import errno
import json
import os
from pathlib import Path

import pytest

from rollout.errors import PolicyDamaged, PolicyNotWritten
from rollout.policies import Policy, PolicyStore, verify


@pytest.fixture
def base_dir(tmp_path: Path) -> Path:
    """A model with a configuration, a template and weights."""
    directory = tmp_path / "base"
    directory.mkdir()
    (directory / "config.json").write_text('{"hidden_size": 8}')
    (directory / "chat_template.jinja").write_text("{{ messages }}")
    (directory / "model.safetensors").write_bytes(b"starter weights")
    return directory


@pytest.fixture
def store(tmp_path: Path) -> PolicyStore:
    return PolicyStore(tmp_path / "weights")


def _write(
    store: PolicyStore, base_dir: Path, version: int, weights: bytes = b"w" * 1000
) -> Policy:
    def write_weights(directory: Path) -> None:
        (directory / "model.safetensors").write_bytes(weights)

    return store.write(
        version, parent=version - 1, base_dir=base_dir, write_weights=write_weights, created=7
    )


def test_a_policy_has_new_weights_and_the_rest_of_its_base(
    store: PolicyStore, base_dir: Path
) -> None:
    """The directory is a whole model, and the record reads back from it."""
    policy = _write(store, base_dir, 12, b"new weights")
    path = Path(policy.path)

    assert path.name == "v00000012"
    assert (path / "model.safetensors").read_bytes() == b"new weights"
    assert (path / "config.json").read_bytes() == (base_dir / "config.json").read_bytes()
    assert (path / "chat_template.jinja").exists()
    assert store.policy(12) == policy == Policy(12, str(path), 11, policy.digest, 7)
    verify(policy)


def test_equal_files_have_equal_digests(store: PolicyStore, base_dir: Path) -> None:
    """The digest names the content, whatever the version."""
    first, same, other = (
        _write(store, base_dir, v, w) for v, w in ((1, b"a"), (2, b"a"), (3, b"b"))
    )

    assert first.digest == same.digest != other.digest


def test_the_starter_is_adopted_once(store: PolicyStore, base_dir: Path) -> None:
    """Adopting copies everything as version 0; a restart finds it there."""
    starter = store.adopt(base_dir, created=1)
    (base_dir / "model.safetensors").write_bytes(b"changed later")

    assert store.adopt(base_dir, created=2) == starter
    assert (Path(starter.path) / "model.safetensors").read_bytes() == b"starter weights"
    assert (starter.version, starter.parent) == (0, None)


def test_a_version_is_never_written_twice(store: PolicyStore, base_dir: Path) -> None:
    """The second attempt is refused and changes nothing."""
    policy = _write(store, base_dir, 1, b"first")

    with pytest.raises(PolicyNotWritten, match="never reused"):
        _write(store, base_dir, 1, b"second")
    verify(policy)


def test_a_full_disk_leaves_nothing_behind(
    store: PolicyStore, base_dir: Path, tmp_path: Path
) -> None:
    """The error names the cause, the partial directory is gone, and the next version succeeds."""

    def write_to_full_disk(directory: Path) -> None:
        (directory / "model-00001.safetensors").write_bytes(b"the first shard fits")
        with Path("/dev/full").open("wb") as full:
            full.write(b"the second does not")

    with pytest.raises(PolicyNotWritten, match=os.strerror(errno.ENOSPC)):
        store.write(1, parent=0, base_dir=base_dir, write_weights=write_to_full_disk, created=0)

    assert list((tmp_path / "weights").iterdir()) == []
    assert store.versions() == []
    verify(_write(store, base_dir, 2))


def test_a_failing_writer_leaves_nothing_behind(
    store: PolicyStore, base_dir: Path, tmp_path: Path
) -> None:
    """An error that is not the disk's rises as it is."""

    def fail(directory: Path) -> None:
        (directory / "model.safetensors").write_bytes(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.write(1, parent=0, base_dir=base_dir, write_weights=fail, created=0)

    assert list((tmp_path / "weights").iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (
            lambda path: (path / "model.safetensors").write_bytes(b"w" * 400),
            "400 bytes instead of 1000",
        ),
        (
            lambda path: (path / "model.safetensors").write_bytes(b"x" * 1000),
            "content of model.safeten",
        ),
        (lambda path: (path / "config.json").unlink(), "config.json is missing"),
        (lambda path: (path / "extra.safetensors").write_bytes(b""), "does not belong"),
        (lambda path: (path / "manifest.json").unlink(), "No such file"),
        (lambda path: (path / "manifest.json").write_bytes(b'{"version": 1'), "manifest.json"),
    ],
)
def test_damage_is_found_and_named(
    store: PolicyStore, base_dir: Path, damage, complaint: str
) -> None:  # type: ignore[no-untyped-def]
    """A file that is missing, cut, changed or added makes the policy unusable."""
    policy = _write(store, base_dir, 1)
    damage(Path(policy.path))

    with pytest.raises(PolicyDamaged, match=complaint):
        verify(policy)


def test_a_rewritten_manifest_does_not_pass(store: PolicyStore, base_dir: Path) -> None:
    """The record's digest binds the manifest, too."""
    policy = _write(store, base_dir, 1)
    manifest = Path(policy.path) / "manifest.json"
    content = json.loads(manifest.read_bytes())
    content["files"]["config.json"]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(content))

    with pytest.raises(PolicyDamaged, match="not the one that was published"):
        verify(policy)


def test_a_missing_directory_is_damage(store: PolicyStore) -> None:
    """The remedy is in the message."""
    with pytest.raises(PolicyDamaged, match="publish it again"):
        store.policy(5)


def test_pruning_keeps_the_newest_and_the_pinned(
    store: PolicyStore, base_dir: Path, tmp_path: Path
) -> None:
    """What a crash left half written goes as well."""
    for version in range(1, 7):
        _write(store, base_dir, version)
    (tmp_path / "weights" / ".partial-v00000003").mkdir()

    assert store.prune(keep=2, pinned=frozenset({1, 3})) == [2, 4]
    assert store.versions() == [1, 3, 5, 6]
    assert sorted(p.name for p in (tmp_path / "weights").iterdir()) == [
        "v00000001",
        "v00000003",
        "v00000005",
        "v00000006",
    ]
