"""The JSON schema that a structured answer has to satisfy, as the text that an engine compiles."""

from gateway.request.json_text import json_text
from gateway.turn.grammar_limits import SchemaLimits

ANY_OBJECT = '{"type":"object"}'


def schema_text(schema: object, where: str) -> str:
    """Raises BadRequest for a schema that no engine should compile."""
    text = json_text(schema, where).decode()
    SchemaLimits().add(schema, where)
    return text
