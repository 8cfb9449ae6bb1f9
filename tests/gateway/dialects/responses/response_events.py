"""Responses of a served gateway, checked against two sets of types, and folded as a client folds them."""

from typing import Any

import orjson
from httpx import Response
from openai.types.responses import Response as OpenAIResponse
from openai.types.responses import ResponseStreamEvent
from openresponses_types import types as specified
from pydantic import BaseModel, TypeAdapter

from tests.gateways import Gateway

PATH = "/v1/responses"
BODY: Any = {"model": "policy", "input": "Hi"}
PRICE: Any = {
    "type": "function",
    "name": "price",
    "parameters": {"type": "object", "properties": {"item": {"type": "string"}}},
}
CALL = '<tool_call>\n{"name": "price", "arguments": {"item": "melon"}}\n</tool_call>'

# The specification calls the events of reasoning text by names that no client of OpenAI's knows.
OTHER_NAMES = {
    "response.reasoning_text.delta": "response.reasoning.delta",
    "response.reasoning_text.done": "response.reasoning.done",
}
EVENTS: Any = TypeAdapter(ResponseStreamEvent)


def specified_events() -> dict[str, type[BaseModel]]:
    """The record of each event by its type."""
    found: dict[str, type[BaseModel]] = {}
    for record in vars(specified).values():
        is_event = isinstance(record, type) and record.__name__.endswith("StreamingEvent")
        if is_event and "type" in record.model_fields:
            (name,) = [
                each for each in (record.model_fields["type"].annotation,) if each is not None
            ]
            found[next(iter(name)).value] = record
    return found


SPECIFIED = specified_events()


def as_specified(value: dict[str, Any]) -> dict[str, Any]:
    """Without what OpenAI has and the specification lacks: custom tools, their calls, and the schema of an answer."""
    value = dict(value)
    if "response" in value:
        return value | {"response": as_specified(value["response"])}
    if value.get("object") == "response":
        value["tools"] = [tool for tool in value["tools"] if tool["type"] == "function"]
        value["output"] = [item for item in value["output"] if item["type"] != "custom_tool_call"]
        if isinstance(value["tool_choice"], dict) and value["tool_choice"]["type"] == "custom":
            value["tool_choice"] = "auto"
        format_ = value["text"]["format"]
        if format_["type"] == "json_schema":
            value["text"] = value["text"] | {"format": format_ | {"schema": None}}
    return value


def check(response: dict[str, Any]) -> None:
    """The object has every required field of the specification and of the SDK's record."""
    specified.ResponseResource.model_validate(as_specified(response))
    OpenAIResponse.model_validate(response)


def check_event(event: dict[str, Any]) -> None:
    """The event is one of the specification and one of the SDK's records."""
    name = OTHER_NAMES.get(event["type"], event["type"])
    is_custom = event.get("item", {}).get("type") == "custom_tool_call"
    if not (is_custom or name.startswith(("error", "response.custom_tool_call"))):
        SPECIFIED[name].model_validate(as_specified(event) | {"type": name})
    EVENTS.validate_python(event)


def events_of(answer: Response) -> list[dict[str, Any]]:
    """The events of a stream; each is named by its type and numbered by its place."""
    assert answer.status_code == 200, answer.text
    events = []
    for block in answer.text.strip().split("\n\n"):
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        if not lines:
            continue
        name, data = lines
        event = orjson.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        check_event(event)
        events.append(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


async def streamed(served: Gateway, body: dict[str, Any], path: str = PATH) -> list[dict[str, Any]]:
    return events_of(await served.admin.post(path, json=body | {"stream": True}))


async def whole(served: Gateway, body: dict[str, Any], path: str = PATH) -> dict[str, Any]:
    answer = await served.admin.post(path, json=body)
    assert answer.status_code == 200, answer.text
    response: dict[str, Any] = answer.json()
    check(response)
    return response


class Fold:
    """What a client makes of the events alone, without the last one."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self.items: list[dict[str, Any]] = []
        for event in events:
            self._take(event)

    def _take(self, event: dict[str, Any]) -> None:
        match event["type"].removeprefix("response."):
            case "output_item.added":
                assert event["output_index"] == len(self.items)
                self.items.append(event["item"] | {"status": "completed"})
            case "content_part.added":
                self._of(event).setdefault("content", []).append(dict(event["part"]))
            case "reasoning_summary_part.added":
                self._of(event)["summary"].append(dict(event["part"]))
            case "output_text.delta":
                part = self._of(event)["content"][event["content_index"]]
                part["text"] += event["delta"]
                part["logprobs"] = part["logprobs"] + event["logprobs"]
            case "reasoning_text.delta":
                self._of(event)["content"][event["content_index"]]["text"] += event["delta"]
            case "reasoning_summary_text.delta":
                self._of(event)["summary"][event["summary_index"]]["text"] += event["delta"]
            case "function_call_arguments.delta":
                self._of(event)["arguments"] += event["delta"]
            case "custom_tool_call_input.delta":
                self._of(event)["input"] += event["delta"]

    def _of(self, event: dict[str, Any]) -> dict[str, Any]:
        item = self.items[event["output_index"]]
        assert item["id"] == event["item_id"]
        return item


def without_ids(response: dict[str, Any]) -> dict[str, Any]:
    """The response without what differs between two turns."""
    text = orjson.dumps(response | {"created_at": 0, "completed_at": 0}).decode()
    turn = response["id"].rpartition("_")[2]
    found: dict[str, Any] = orjson.loads(text.replace(turn, "TURN"))
    return found
