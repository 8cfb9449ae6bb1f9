"""The store's scripts: what each can call is in its text, and Redis gets the text once."""

import asyncio
import re

import pytest

from rollout.errors import StoreUnavailable
from rollout.store.cluster_nodes import ClusterNodes, SlotNode
from rollout.store.connection import connect
from rollout.store.lua_scripts import FOLDER, LuaScripts, read_script
from tests.rollout.store.pipeline.scripted_redis import Command, bulk, scripted_redis

BODY = re.compile(r"^local function (\w+)\((.*?)(?:\nend$|\bend$)", re.MULTILINE | re.DOTALL)
SHARED = {
    name: body
    for path in (FOLDER / "functions").glob("*.lua")
    for name, body in BODY.findall(re.sub(r"--.*", "", path.read_text()))
}


def called(text: str) -> set[str]:
    """The shared functions that a text calls, and those that they call."""
    found: set[str] = set()
    waiting = [text]
    while waiting:
        names = set(re.findall(r"\b(\w+)\(", waiting.pop())) & SHARED.keys() - found
        found |= names
        waiting += [SHARED[name] for name in names]
    return found


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.lua")))
def test_a_script_needs_what_it_calls(name: str) -> None:
    """Every shared function that a transition can come to is defined in its text."""
    own = re.sub(r"--.*", "", (FOLDER / f"{name}.lua").read_text())
    text = read_script(name).text
    defined = set(re.findall(r"^local function (\w+)", text, re.MULTILINE))
    assert called(own) <= defined, "name the file that defines it in the line `-- needs:`"


def test_every_command_names_a_key() -> None:
    """`call` passes the name of a key on to Redis, which refuses a command without one; TIME is called directly."""
    texts = [re.sub(r"--.*", "", path.read_text()) for path in FOLDER.rglob("*.lua")]
    assert [found for text in texts for found in re.findall(r"(?<!\.)\bcall\('\w+'\)", text)] == []


async def test_a_script_whose_sending_fails_is_sent_by_one_of_the_others() -> None:
    """The calls that wait for it do not all send its text."""
    sent: list[Command] = []

    def answer(command: Command) -> bytes:
        if command[0] == b"EVAL":
            sent.append(command)
            return bulk(b"done") if len(sent) > 1 else b"-OOM no memory\r\n"
        return bulk(b"done") if len(sent) > 1 else b"-NOSCRIPT no such script\r\n"

    async with scripted_redis(answer) as server:
        nodes = ClusterNodes(connect(server.url), deadline_seconds=5)
        scripts = LuaScripts(SlotNode(nodes))
        answers = await asyncio.gather(
            *(scripts.run("probe", "p") for _ in range(6)), return_exceptions=True
        )
        await nodes.close()

    assert [type(each) for each in answers if each != b"done"] == [StoreUnavailable]
    assert len(sent) == 2
