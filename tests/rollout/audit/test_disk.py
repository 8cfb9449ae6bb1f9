"""The policies on disk are compared with what the store recorded."""

import shutil
from pathlib import Path

from rollout.policies import Policy, PolicyStore
from tests.rollout.audit.scene import Scene


def write(policies: PolicyStore, version: int, base_dir: Path) -> Policy:
    def weights(directory: Path) -> None:
        (directory / "model.safetensors").write_bytes(bytes([version]))

    return policies.write(version, parent=4, base_dir=base_dir, write_weights=weights, created=7)


async def test_a_recorded_policy_is_on_disk(scene: Scene, tmp_path: Path) -> None:
    """A recorded policy whose directory is gone or holds another policy is an offender, and so is a version above the counter."""
    policies = PolicyStore(tmp_path / "weights")
    (tmp_path / "base").mkdir()
    await scene.store.record_policy(write(policies, 5, tmp_path / "base"))
    assert (await scene.audit(policies=policies)).offenders == ()

    write(policies, 6, tmp_path / "base")
    (version,) = (await scene.audit(policies=policies)).offenders
    assert (version.id, version.expected, version.found) == (
        "next",
        "a version counter of at least 6",
        "5",
    )
    assert await scene.store.next_version() == 6

    shutil.rmtree(tmp_path / "weights" / "v00000005")
    (gone,) = (await scene.audit(policies=policies)).offenders
    assert (gone.kind, gone.id) == ("policy", "5")

    (tmp_path / "weights" / "v00000006").rename(tmp_path / "weights" / "v00000005")
    (other,) = (await scene.audit(policies=policies)).offenders
    assert (other.kind, other.id) == ("policy", "5")
