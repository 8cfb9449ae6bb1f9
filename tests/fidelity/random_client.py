"""The client of a random agent: sends a body, folds a stream, or leaves in the middle of one."""

import json
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.gateways import ADMIN_KEY

Message = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    turn_id: str
    messages: tuple[Message, ...]
    finish_reasons: tuple[str, ...]
    logprobs: tuple[Any, ...]
    ids: tuple[Any, ...]  # of the prompt and of each choice, if they were asked for

    def says(self) -> Any:
        """All that does not name this turn; ids of calls are made anew for each."""
        calls = [
            [call["function"] for call in message.get("tool_calls", ())]
            for message in self.messages
        ]
        texts = [(m.get("content") or "", m.get("reasoning_content") or "") for m in self.messages]
        return texts, calls, self.finish_reasons, self.logprobs, self.ids


class Client:
    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = f"{url}/v1/chat/completions"
        self._session = session
        self._key = {"authorization": f"Bearer {ADMIN_KEY}"}

    async def ask(self, body: Message, headers: dict[str, str]) -> Answer:
        async with self._post(body, headers) as response:
            text = await response.text()
            assert response.status == 200, text
            turn_id = response.headers["x-turngate-turn"]
        return _folded(turn_id, text) if body["stream"] else _whole(turn_id, json.loads(text))

    async def leave(self, body: Message, headers: dict[str, str]) -> str:
        """Break the connection after the first event of a stream."""
        async with self._post(body, headers) as response:
            assert response.status == 200
            await response.content.readany()
            response.close()
            return response.headers["x-turngate-turn"]

    def _post(self, body: Message, headers: dict[str, str]) -> Any:
        return self._session.post(self._url, json=body, headers=headers | self._key)


def _whole(turn_id: str, completion: Any) -> Answer:
    choices = completion["choices"]
    return Answer(
        turn_id,
        tuple(choice["message"] for choice in choices),
        tuple(choice["finish_reason"] for choice in choices),
        tuple((choice["logprobs"] or {}).get("content") for choice in choices),
        (completion.get("prompt_token_ids"), *(choice.get("token_ids") for choice in choices)),
    )


def _folded(turn_id: str, text: str) -> Answer:
    """What a client assembles of the events, by the plain rule: join what has the same place."""
    *events, done = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    assert done == "[DONE]", text
    chunks = [json.loads(event) for event in events]
    parts = [choice for chunk in chunks for choice in chunk["choices"]]
    places = sorted({part["index"] for part in parts})
    own = [[part for part in parts if part["index"] == place] for place in places]
    return Answer(
        turn_id,
        tuple(_message([part["delta"] for part in mine]) for mine in own),
        tuple(next(p["finish_reason"] for p in mine if p["finish_reason"]) for mine in own),
        tuple(_logprobs(mine) for mine in own),
        (chunks[0].get("prompt_token_ids"), *map(_ids, own)),
    )


def _message(deltas: list[Message]) -> Message:
    message: Message = {"role": "assistant"}
    calls: dict[int, Message] = {}
    for delta in deltas:
        for name in ("content", "reasoning", "reasoning_content"):
            if delta.get(name):
                message[name] = message.get(name, "") + delta[name]
        for part in delta.get("tool_calls", ()):
            empty = {"type": "function", "function": {"name": "", "arguments": ""}}
            call = calls.setdefault(part["index"], empty)
            call["id"] = call.get("id") or part.get("id")
            for name, piece in part["function"].items():
                call["function"][name] += piece
    if calls:
        message["tool_calls"] = [calls[place] for place in sorted(calls)]
    return message


def _logprobs(parts: list[Message]) -> Any:
    shown = [part["logprobs"]["content"] for part in parts if part["logprobs"]]
    return [token for content in shown for token in content] if shown else None


def _ids(parts: list[Message]) -> list[int] | None:
    shown = [part["token_ids"] for part in parts if "token_ids" in part]
    return [id_ for ids in shown for id_ in ids] if shown else None
