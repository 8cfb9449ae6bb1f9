"""The store's Lua: each file under `lua/` is one atomic transition; `lua/functions/` holds what they share.

A transition names the functions it needs in a line `-- needs: keys, group`, and in a line `-- needs here: group` those that
one of its branches needs: each call defines them anew, which costs more than most of what it does.

Redis loses its scripts when it restarts. The first call that meets this sends the script's text. Calls that come meanwhile
wait for it and are made again, which is safe because they have not started.
"""

import asyncio
import hashlib
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec
from redis.exceptions import MovedError, NoScriptError, RedisError

from rollout import errors
from rollout.store.cluster_nodes import SlotNode
from rollout.store.command_batcher import Argument
from rollout.store.refusals import why_unavailable

FOLDER = Path(__file__).parent / "lua"
BASIS = ("keys", "damage")  # of every transition
NEEDED_HERE = re.compile(r"^ *-- needs here: (.+)\n", re.MULTILINE)
REBUILD = "rebuild"  # most calls meet no damaged record, so the others load it when they do
REBUILD_PARTS = ("mending", "indexes", "counting", REBUILD)


class Script(msgspec.Struct, frozen=True):
    """The text of a transition, and the digest that is its name in Redis."""

    text: str
    sha: str


class LuaScripts:
    """Runs transitions, and turns their error replies into our exceptions."""

    def __init__(self, node: SlotNode) -> None:
        self._node = node
        self._sending: dict[str, asyncio.Future[object]] = {}  # by digest

    async def run(self, name: str, prefix: str, *arguments: Argument) -> object:
        """One transition, one round trip. `prefix` is its only key: all others are derived from it."""
        script = read_script(name)
        arguments = (1, prefix, *arguments)
        node = self._node.batcher
        try:
            try:
                return await node.submit("EVALSHA", script.sha, *arguments)
            except (NoScriptError, MovedError) as error:
                return await self._run_again(script, arguments, error)
            except errors.StoreUnavailable:
                self._node.forget(node)
                raise
        except RedisError as error:
            raise translate(error) from None

    async def _run_again(
        self, script: Script, arguments: tuple[Argument, ...], error: RedisError
    ) -> object:
        """On the node that has the project, and with the script's text if the node does not know it."""
        if isinstance(error, MovedError):
            self._node.follow(error)
            with suppress(NoScriptError):
                return await self._node.call("EVALSHA", script.sha, *arguments)
        return await self._run_unknown(script, arguments)

    async def _run_unknown(self, script: Script, arguments: tuple[Argument, ...]) -> object:
        """The first of the calls that need it sends the script; the others wait until it was sent."""
        while (sending := self._sending.get(script.sha)) is not None:
            await asyncio.wait([sending])
            with suppress(NoScriptError):
                return await self._node.call("EVALSHA", script.sha, *arguments)
        sending = asyncio.ensure_future(self._node.call("EVAL", script.text, *arguments))
        self._sending[script.sha] = sending
        sending.add_done_callback(lambda _: self._sending.pop(script.sha, None))
        return await sending


@cache
def read_script(name: str) -> Script:
    """Join a transition's file and the functions it needs."""
    body = (FOLDER / f"{name}.lua").read_text()
    needs = re.search(r"^-- needs: (.+)$", body, re.MULTILINE)
    assert needs, f"{name}.lua has no line that names the functions it needs"
    named = [part for part in parts(needs[1]) if part not in BASIS]
    if REBUILD in named:
        mend = f"{function_texts(REBUILD_PARTS)}mend = mend_record\n"
    else:
        mend = (
            f"mend = function(...)\n{function_texts(REBUILD_PARTS)}return mend_record(...)\nend\n"
        )
    others = function_texts(part for part in named if part != REBUILD)
    body = NEEDED_HERE.sub(lambda here: function_texts(parts(here[1])), body)
    # Within a function, because Lua searches the variables of a script's top level for each use in a function.
    text = (
        f"{function_texts(BASIS)}local function transition()\n{mend}{others}{body}end\n"
        "return transition()\n"
    )
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def parts(names: str) -> list[str]:
    return [name.strip() for name in names.split(",")]


def function_texts(names: Iterable[str]) -> str:
    return "".join((FOLDER / "functions" / f"{name}.lua").read_text() for name in names)


def translate(error: RedisError) -> Exception:
    """A script's reply `EpisodeSealed ep_91` becomes the exception of that name."""
    name, _, arguments = str(error).partition(" ")
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, errors.StoreError):
        return kind(*arguments.split("\x1f"))
    why = why_unavailable(error)
    return error if why is None else errors.StoreUnavailable(why)
