"""The store's Lua: each file under `lua/` is one atomic transition; `lua/functions/` holds what they share.

A transition names the functions it needs in a line `-- needs: keys, group`. Redis loses its scripts when it restarts.
A script that it does not know is sent again, once for all calls that wait for it, and then they are made again, which is
safe because they have not started.
"""

import asyncio
import hashlib
import re
from functools import cache
from pathlib import Path

import msgspec
from redis.exceptions import NoScriptError, RedisError

from rollout import errors
from rollout.store.command_batcher import Argument, CommandBatcher
from rollout.store.refusals import why_unavailable

FOLDER = Path(__file__).parent / "lua"
BASIS = ("keys", "damage")  # of every transition
REBUILD = "rebuild"  # most calls meet no damaged record, so the others load it when they do


class Script(msgspec.Struct, frozen=True):
    """The text of a transition, and the digest that is its name in Redis."""

    text: str
    sha: str


class LuaScripts:
    """Runs transitions, and turns their error replies into our exceptions."""

    def __init__(self, batcher: CommandBatcher) -> None:
        self._batcher = batcher
        self._loading: dict[str, asyncio.Future[object]] = {}  # by digest

    async def run(self, name: str, prefix: str, *arguments: Argument) -> object:
        """One transition, one round trip. `prefix` is its only key: all others are derived from it."""
        script = read_script(name)
        command = ("EVALSHA", script.sha, 1, prefix, *arguments)
        try:
            try:
                return await self._batcher.submit(*command)
            except NoScriptError:
                await self._load(script)
                return await self._batcher.submit(*command)
        except RedisError as error:
            raise translate(error) from None

    async def _load(self, script: Script) -> None:
        """Send a script; of many calls that need it, one sends it."""
        loading = self._loading.get(script.sha)
        if loading is None:
            loading = self._batcher.submit("SCRIPT", "LOAD", script.text)
            self._loading[script.sha] = loading
            loading.add_done_callback(lambda _: self._loading.pop(script.sha, None))
        await asyncio.wait([loading])
        if (error := loading.exception()) is not None:
            raise error


@cache
def read_script(name: str) -> Script:
    """Join a transition's file and the functions it needs."""
    body = (FOLDER / f"{name}.lua").read_text()
    needs = re.search(r"^-- needs: (.+)$", body, re.MULTILINE)
    assert needs, f"{name}.lua has no line that names the functions it needs"
    named = [part.strip() for part in needs[1].split(",")]
    rebuild = function_text(REBUILD)
    if REBUILD in named:
        mend = f"{rebuild}mend = mend_record\n"
    else:
        mend = f"mend = function(...)\n{rebuild}return mend_record(...)\nend\n"
    others = (function_text(part) for part in named if part not in (*BASIS, REBUILD))
    text = "".join([*map(function_text, BASIS), mend, *others, body])
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def function_text(part: str) -> str:
    return (FOLDER / "functions" / f"{part}.lua").read_text()


def translate(error: RedisError) -> Exception:
    """A script's reply `EpisodeSealed ep_91` becomes the exception of that name."""
    name, _, arguments = str(error).partition(" ")
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, errors.StoreError):
        return kind(*arguments.split("\x1f"))
    why = why_unavailable(error)
    return error if why is None else errors.StoreUnavailable(why)
