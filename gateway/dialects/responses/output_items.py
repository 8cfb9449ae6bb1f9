"""One item of a reply's output while it grows: what it sends when it opens, with each piece, and when it closes."""

from collections.abc import Iterator
from typing import Protocol

import orjson

from gateway.dialects.responses.namespaces import CalledTool
from gateway.dialects.responses.tools import INPUT
from gateway.request.request import TokenLogprob

Event = dict[str, object]
COMPLETED, INCOMPLETE, IN_PROGRESS = "completed", "incomplete", "in_progress"


class OutputItem(Protocol):
    def opened(self) -> Iterator[Event]: ...
    def grown(self, text: str, logprobs: list[object]) -> Iterator[Event]: ...
    def closed(self, status: str) -> Iterator[Event]: ...
    def item(self, status: str) -> dict[str, object]:
        """The item as it stands."""


class _Item:
    """What the kinds have in common: a place among the items, an id, and the text so far."""

    def __init__(self, place: int, id_: str) -> None:
        self._place = place
        self._id = id_
        self._texts: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def _added(self, item: dict[str, object]) -> Event:
        return {
            "type": "response.output_item.added",
            "output_index": self._place,
            "item": item,
        }

    def _done(self, item: dict[str, object]) -> Event:
        return {"type": "response.output_item.done", "output_index": self._place, "item": item}

    def _event(self, kind: str, **fields: object) -> Event:
        return {"type": kind, "item_id": self._id, "output_index": self._place, **fields}


class Message(_Item):
    def __init__(self, place: int, id_: str) -> None:
        super().__init__(place, id_)
        self._logprobs: list[object] = []

    def opened(self) -> Iterator[Event]:
        yield self._added(self._message(IN_PROGRESS, []))
        yield self._event("response.content_part.added", content_index=0, part=self._part("", []))

    def grown(self, text: str, logprobs: list[object]) -> Iterator[Event]:
        self._texts.append(text)
        self._logprobs += logprobs
        yield self._event(
            "response.output_text.delta", content_index=0, delta=text, logprobs=logprobs
        )

    def closed(self, status: str) -> Iterator[Event]:
        text, logprobs = self.text, self._logprobs
        yield self._event(
            "response.output_text.done", content_index=0, text=text, logprobs=logprobs
        )
        part = self._part(text, logprobs)
        yield self._event("response.content_part.done", content_index=0, part=part)
        yield self._done(self.item(status))

    def item(self, status: str) -> dict[str, object]:
        return self._message(status, [self._part(self.text, self._logprobs)])

    def _message(self, status: str, content: list[dict[str, object]]) -> dict[str, object]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        }

    def _part(self, text: str, logprobs: list[object]) -> dict[str, object]:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


class Reasoning(_Item):
    """Reasoning as text, as servers of open models show it."""

    def __init__(self, place: int, id_: str, encrypted_content: str | None) -> None:
        super().__init__(place, id_)
        self._encrypted = encrypted_content

    def opened(self) -> Iterator[Event]:
        yield self._added(self._reasoning(IN_PROGRESS, content=[], summary=[]))
        yield self._event("response.content_part.added", content_index=0, part=self._part(""))

    def grown(self, text: str, logprobs: list[object]) -> Iterator[Event]:
        self._texts.append(text)
        yield self._event("response.reasoning_text.delta", content_index=0, delta=text)

    def closed(self, status: str) -> Iterator[Event]:
        text = self.text
        yield self._event("response.reasoning_text.done", content_index=0, text=text)
        yield self._event("response.content_part.done", content_index=0, part=self._part(text))
        yield self._done(self.item(status))

    def item(self, status: str) -> dict[str, object]:
        return self._reasoning(status, content=[self._part(self.text)], summary=[])

    def _reasoning(self, status: str, **shown: object) -> dict[str, object]:
        item = {"id": self._id, "type": "reasoning", "status": status, **shown}
        if self._encrypted is not None:
            item["encrypted_content"] = self._encrypted
        return item

    def _part(self, text: str) -> dict[str, object]:
        return {"type": "reasoning_text", "text": text}


class Summary(Reasoning):
    """Reasoning as its own summary, for callers who ask for summaries, because some read nothing else."""

    def opened(self) -> Iterator[Event]:
        yield self._added(self._reasoning(IN_PROGRESS, summary=[]))
        part = self._part("")
        yield self._event("response.reasoning_summary_part.added", summary_index=0, part=part)

    def grown(self, text: str, logprobs: list[object]) -> Iterator[Event]:
        self._texts.append(text)
        yield self._event("response.reasoning_summary_text.delta", summary_index=0, delta=text)

    def closed(self, status: str) -> Iterator[Event]:
        text = self.text
        yield self._event("response.reasoning_summary_text.done", summary_index=0, text=text)
        part = self._part(text)
        yield self._event("response.reasoning_summary_part.done", summary_index=0, part=part)
        yield self._done(self.item(status))

    def item(self, status: str) -> dict[str, object]:
        return self._reasoning(status, summary=[self._part(self.text)])

    def _part(self, text: str) -> dict[str, object]:
        return {"type": "summary_text", "text": text}


class FunctionCall(_Item):
    def __init__(self, place: int, id_: str, *, call_id: str, called: CalledTool) -> None:
        super().__init__(place, id_)
        self._call_id = call_id
        self._called = called

    def opened(self) -> Iterator[Event]:
        yield self._added(self.item(IN_PROGRESS))

    def grown(self, text: str, logprobs: list[object]) -> Iterator[Event]:
        self._texts.append(text)
        yield self._event("response.function_call_arguments.delta", delta=text)

    def closed(self, status: str) -> Iterator[Event]:
        yield self._event(
            "response.function_call_arguments.done", name=self._called.name, arguments=self.text
        )
        yield self._done(self.item(status))

    def item(self, status: str) -> dict[str, object]:
        return self._call(status, type="function_call", arguments=self.text)

    def _call(self, status: str, **fields: object) -> dict[str, object]:
        item = {"id": self._id, "call_id": self._call_id, "name": self._called.name, **fields}
        if self._called.namespace is not None:
            item["namespace"] = self._called.namespace
        return item | {"status": status}


class CustomCall(FunctionCall):
    """A call of a custom tool. Its input is known once the arguments that hold it are whole."""

    def grown(self, text: str, logprobs: list[object]) -> Iterator[Event]:
        self._texts.append(text)
        return iter(())

    def closed(self, status: str) -> Iterator[Event]:
        text = self._input
        yield self._event("response.custom_tool_call_input.delta", delta=text)
        yield self._event("response.custom_tool_call_input.done", input=text)
        yield self._done(self.item(status))

    def item(self, status: str) -> dict[str, object]:
        given = self._input if status != IN_PROGRESS else ""
        return self._call(status, type="custom_tool_call", input=given)

    @property
    def _input(self) -> str:
        """The argument that holds the input; what the model wrote if there is no such argument."""
        try:
            arguments = orjson.loads(self.text or "{}")
        except orjson.JSONDecodeError:
            return self.text
        given = arguments.get(INPUT) if isinstance(arguments, dict) else None
        return given if isinstance(given, str) else self.text


def shown_logprob(token: TokenLogprob) -> dict[str, object]:
    """A token with its alternatives as Responses shows them."""
    return {
        "token": token.token,
        "logprob": token.logprob,
        "bytes": token.bytes,
        "top_logprobs": [
            {"token": each.token, "logprob": each.logprob, "bytes": each.bytes}
            for each in token.top_logprobs or ()
        ],
    }
