"""What is wrong with a control-plane call, in plain words for each kind of mistake."""

from collections.abc import Iterator
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, TypeAdapter, ValidationError

from gateway.api import requests
from gateway.api.refusals import WORDS, by_schema
from tests.gateways import Gateway

MODELS = [
    *(
        kind
        for kind in vars(requests).values()
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not BaseModel
    ),
    requests.Rewards,
]
JUNK: list[Any] = [
    *(None, True, 1, -1, 1.5, float("nan"), float("inf"), 1e308, 10**30, 2**40),
    *("", "x", "x|y", " ", "a" * 5000, "\ud800", "\n"),
    *([], ["x"], {}, {"x": 10**30}, [{}] * 2001),
]


def mistakes() -> Iterator[RequestValidationError]:
    """What each model says of each kind of value, in each of its fields and instead of all."""
    for model in MODELS:
        reading: TypeAdapter[Any] = TypeAdapter(model)
        fields = getattr(model, "model_fields", requests.AddressedReward.model_fields)
        bodies = [*JUNK, *({name: value} for name in fields for value in JUNK)]
        for body in bodies:
            try:
                reading.validate_python(body)
            except ValidationError as error:
                for each in error.errors(include_url=False):
                    each["loc"] = ("body", *each["loc"])
                    yield RequestValidationError([each])


def test_every_kind_of_mistake_has_words_of_ours() -> None:
    """Whatever is sent in whichever field, the validator's own words do not reach the caller."""
    kinds = set()
    for mistake in mistakes():
        (error,) = mistake.errors()
        kinds.add(error["type"])
        refused = by_schema(mistake)
        assert refused.message.isprintable()
        if error["type"] != "value_error":
            assert error["msg"] not in refused.message
            assert "Input" not in refused.message
    assert len(kinds) > 15
    assert kinds <= {*WORDS, "extra_forbidden"}


REWARDS = [
    (b'{"value": "1"}', "value: it must be a number"),
    (b'{"value": NaN}', "value: it must be a finite number"),
    (b'{"value": 1e16}', "value: it must be at most 1000000000000000.0"),
    (b'{"value": 1, "name": ""}', "name: its length must be at least 1"),
    (b'{"value": 1, "choice_index": "1"}', "choice_index: it must be a whole number"),
    (b'{"value": 1, "complete": 5}', "complete: it must be true or false"),
    (b"{}", "value: it is missing"),
    (b"[1]", "[0]: it must be an object"),
    (b'[{"value": 1}]', "[0]: give either completion_id or episode_id"),
    (b"", "the body: it is missing"),
    (b'{"value": 1', "the body is not valid JSON: something else is expected at character 11"),
    (b'{"value": "\xff"}', "the body is not UTF-8: byte 11 is no part of a character"),
    (b"[" * 100_000, "the body is nested too deeply"),
]
QUERIES = [
    ("limit=0", "limit: it must be at least 1"),
    ("limit=101", "limit: it must be at most 100"),
    ("limit=ten", "limit: it must be a whole number"),
    ("limit=" + "9" * 5000, "limit: the number is too large"),
    (
        "status=done",
        "status: it must be 'open', 'sealed', 'rewarded', 'claimed', 'trained' or 'discarded'",
    ),
]


async def test_a_call_is_refused_in_plain_words(served: Gateway) -> None:
    """The message names the field of a body, or the parameter of a query, and what it must be."""
    headers = {"content-type": "application/json"}
    for body, message in REWARDS:
        answer = await served.admin.post("/v1/rewards", content=body, headers=headers)
        assert answer.status_code in (400, 422)
        assert answer.json()["error"]["message"] == message
    for query, message in QUERIES:
        answer = await served.admin.get(f"/v1/episodes?{query}")
        assert answer.status_code == 422
        assert answer.json()["error"]["message"] == message
