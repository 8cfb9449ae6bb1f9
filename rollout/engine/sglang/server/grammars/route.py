"""`POST /grammars` with `{"kind", "text"}`: 200 if the engine can sample under the grammar, 400 with the reason if not.

A caller who leaves takes its trial along.
"""

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rollout.engine.sglang.server.grammars.trials import Busy, Trials

PATH = "/grammars"
KINDS = ("json_schema", "regex", "ebnf", "structural_tag")


class GrammarRoute:
    """Without trials every grammar is let through."""

    def __init__(self) -> None:
        self.trials: Trials | None = None

    async def answer(self, request: Request) -> Response:
        try:
            asked = json.loads(await request.body())
            kind, text = asked["kind"], asked["text"]
        except (ValueError, TypeError, KeyError):
            return _error(400, "the body must be JSON with the fields kind and text")
        if kind not in KINDS or not isinstance(text, str):
            return _error(400, f"kind must be one of {', '.join(KINDS)}, and text a string")
        if self.trials is None:
            return JSONResponse({})
        return await _first_of(_verdict(self.trials, kind, text), _disconnected(request))


async def _verdict(trials: Trials, kind: str, text: str) -> Response:
    try:
        why = await trials.verdict(kind, text)
    except Busy as busy:
        return _error(503, str(busy))
    return _error(400, why) if why else JSONResponse({})


async def _disconnected(request: Request) -> Response:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return Response(status_code=499)


async def _first_of(*answers: Coroutine[Any, Any, Response]) -> Response:
    tasks = [asyncio.create_task(answer) for answer in answers]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": {"message": message}}, status_code=status)
