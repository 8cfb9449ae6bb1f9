"""A grader that checks the form of an answer, not its content."""

import json
import re
from collections.abc import Mapping

from turngate.datasets.row import Row
from turngate.errors import GradingFailed
from turngate.graders.grader import Grader
from turngate.sdks import needed


def json_schema(schema: Mapping[str, object]) -> Grader:
    """1 if the answer is JSON, in a code block or bare, and matches the schema. Needs the extra `jsonschema`."""
    with needed("jsonschema", "graders.json_schema"):
        from jsonschema import SchemaError  # noqa: PLC0415
        from jsonschema.validators import validator_for  # noqa: PLC0415
    kind = validator_for(schema)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise GradingFailed(f"the schema is no JSON schema: {error.message}") from None
    validator = kind(schema)

    def grade(answer: str, row: Row) -> float:
        del row  # the form is the same for every row
        try:
            return float(validator.is_valid(json.loads(without_fence(answer))))
        except ValueError:
            return 0.0

    return Grader(grade, "json_schema")


def without_fence(text: str) -> str:
    fenced = re.search(r"```(?:json)?\s*\n(.*?)```", text, re.DOTALL)
    return fenced[1] if fenced else text
