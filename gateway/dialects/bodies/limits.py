"""How much a body may hold beside its messages. Generous for every known client, and little work for a gateway.

What the prompt may hold is the context length's business (`prompt_encoder.py`), not this module's.
"""

import msgspec

from gateway.errors import BadRequest

MAX_MESSAGES = 8_192
MAX_PARTS = 1_024  # in one message
MAX_CALLS = 256  # in one message
MAX_TOOLS = 1_024  # OpenAI allows 128; agents with many MCP servers send some hundreds
MAX_TOOL_BYTES = 1_048_576  # all together, about 250,000 tokens
MAX_STOPS = 64  # OpenAI allows 4
MAX_STOP_CHARACTERS = 1_024
MAX_STOP_IDS = 1_024
MAX_BIASED_TOKENS = 4_096
MAX_BIAS = 100.0  # as in OpenAI's reference
MAX_TOP_K = 2**30  # the engine's word for all tokens
MAX_NAME = 256  # characters
MAX_MODEL = 8_192  # characters; any name is the policy
MAX_METADATA_BYTES = 65_536
MAX_TEMPLATE_BYTES = 65_536
MAX_SCHEMA_BYTES = 262_144
MOST = 1_000.0  # a temperature or penalty above it does what it does


def check_bytes(raw: msgspec.Raw, limit: int, where: str) -> None:
    """Raises BadRequest that names the field and its limit."""
    num_bytes = len(memoryview(raw))
    if num_bytes > limit:
        raise BadRequest(
            f"{where}: {num_bytes} bytes are more than the {limit} that are allowed",
            param=where,
            code="value_too_large",
        )
