"""`turngate audit`: one line and exit code 0, a list and 1, or what cannot be read and 2."""

import asyncio
import json
import uuid
from pathlib import Path

import pytest

from deploy.cli.app import main
from tests.rollout.audit.scene import opened


async def test_the_command_lists_offenders_and_says_so_by_its_exit_code(
    redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a sound project, of one with a lost turn that a client saw acknowledged, and of one without its ledger."""
    project = uuid.uuid4().hex

    async def audit(*more: str, directory: Path = tmp_path) -> tuple[object, str, str]:
        where = ("--redis", redis_url, "--project", project, "--data-dir", str(directory))
        with pytest.raises(SystemExit) as ended:
            await asyncio.to_thread(main, ["audit", *where, *more])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    async with opened(redis_url, project, tmp_path / "turngate.db") as scene:
        await scene.play_everything()
        (tmp_path / "weights").mkdir()
        for version in (0, 4):
            await scene.publish(tmp_path / "weights", version)
        code, text, _ = await audit()
        summary = (
            f"project {project}: 11 episodes and 8 groups in {len(await scene.keys())} keys, "
            "5 settled in the ledger, 3 trained; 0 offenders\n"
        )
        assert (code, text) == (0, summary)

        (tmp_path / "journal").write_text('{"episode_id": "ep_1", "turn_id": "turn of ep_1"}\n')
        await scene.redis.delete(scene.key("ep.turns:ep_1"), scene.key("ep.turn_ids:ep_1"))
        code, text, _ = await audit("--journal", str(tmp_path / "journal"))
        assert (code, "turn of ep_1" in text, "3 offenders" in text) == (1, True, True)
        code, content, _ = await audit("--output", "json")
        assert [each["id"] for each in json.loads(content)["offenders"]] == ["ep_1", "ep_1"]

    code, _, error = await audit(directory=tmp_path / "nowhere")
    assert (code, "cannot audit" in error) == (2, True)
