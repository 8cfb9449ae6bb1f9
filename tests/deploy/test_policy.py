"""`turngate policy`: which one is best beside a real gateway, and its weights as a directory to start from."""

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from deploy.errors import PolicyUnavailable
from deploy.gateway_api.policy import Policy, export
from rollout import policies
from rollout.ledger.ledger import Ledger
from rollout.policies import PolicyStore
from rollout.settler import settle
from tests.deploy.conftest import Command
from tests.gateways import ADMIN_KEY, Gateway, StartGateway
from tests.held_out import hold_out
from tests.scripted_engine import running_engine


def write_policies(directory: Path, model_dir: Path, *versions: int) -> list[policies.Policy]:
    store = PolicyStore(directory / "weights")
    return [
        store.write(
            version,
            parent=None,
            base_dir=model_dir,
            write_weights=lambda path: (path / "model.safetensors").write_bytes(b"w"),
            created=1,
        )
        for version in versions
    ]


async def publish(served: Gateway, directory: Path, *published: policies.Policy) -> None:
    """Tell the ledger of them, and of what the store has settled."""
    ledger = await Ledger.open(f"sqlite:///{directory / 'ledger.db'}")
    for policy in published:
        await ledger.record_policy(served.project, policy)
    await settle(served.store, ledger)
    await ledger.close()


async def test_the_best_is_named_and_exported(
    start_gateway: StartGateway, command: Command, tmp_path: Path, model_dir: Path
) -> None:
    """A list with scores, one line for the best, and a copy of it that a run can start from."""
    written = write_policies(tmp_path, model_dir, 1, 2, 3)
    out_of_place = tmp_path / "file"
    out_of_place.touch()
    async with running_engine() as engine, start_gateway(engine, best_min_episodes=4) as served:
        where = ("--gateway", served.url, "--admin-key", ADMIN_KEY)
        await publish(served, tmp_path, *written)
        _, nothing = await command("policy", "best", *where)
        await hold_out(served.store, 2, [1, 1, 1, 0])
        await hold_out(served.store, 3, [1, 0, 0, 0])
        await publish(served, tmp_path)
        shutil.rmtree(written[0].path)
        listed, noted = await command("policy", "list", *where)
        best, _ = await command("policy", "best", *where)
        as_json, _ = await command("policy", "best", "--output", "json", *where)
        exported, _ = await command("policy", "export", str(tmp_path / "out" / "best"), *where)
        _, refused = await command("policy", "export", str(tmp_path / "out" / "best"), *where)
        _, below_file = await command("policy", "export", str(out_of_place / "best"), *where)
        _, unknown = await command(
            "policy", "export", str(tmp_path / "x"), "--version", "9", *where
        )

    assert "TURNGATE_BEST_MIN_EPISODES" in nothing
    assert "v2 0.75 ± 0.25 (4 episodes) best" in " ".join(listed.split())
    assert "v3 0.25 ± 0.25 (4 episodes)" in " ".join(listed.split())
    assert "v1" not in listed
    assert written[1].path in "".join(listed.split())
    assert "gone and never evaluated: 1" in noted
    assert best == f"v2  0.75 ± 0.25 (4 episodes)  {written[1].path}\n"
    assert json.loads(as_json)["version"] == 2
    out = Path(exported.strip())
    assert out == tmp_path / "out" / "best"
    policies.verify(msgspec.structs.replace(written[1], path=str(out)))
    assert [file.name for file in out.parent.iterdir()] == ["best"]
    assert "name a new directory" in refused
    assert "name another directory" in below_file
    assert "there is no policy 9" in unknown


def test_only_a_whole_policy_is_exported(tmp_path: Path, model_dir: Path) -> None:
    """Weights that are gone, changed or cut leave nothing at the place they were to go to."""
    changed, cut, gone = write_policies(tmp_path, model_dir, 1, 2, 3)
    (Path(changed.path) / "model.safetensors").write_bytes(b"W")
    (Path(cut.path) / "config.json").unlink()
    shutil.rmtree(gone.path)

    for policy, complaint in (
        (changed, "model.safetensors"),
        (cut, "config.json"),
        (gone, "shows on disk"),
    ):
        shown = Policy(
            policy.version,
            policy.path,
            policy.created,
            is_active=False,
            is_on_disk=True,
            is_best=False,
            evaluation=None,
        )
        with pytest.raises(PolicyUnavailable, match=complaint):
            export(shown, tmp_path / "out" / "best")

    assert list((tmp_path / "out").iterdir()) == []
