"""Tool-call ids and signatures in Anthropic's spelling, and back in ours."""

import re

from gateway.request.minted_ids import minted_id, renamed

_ALLOWED = re.compile(r"[a-zA-Z0-9_-]+")  # the pattern that Anthropic's SDKs and clients check
_WRITTEN_OUT = "tool_"


def tool_use_id(call_id: str) -> str:
    """The id of a `tool_use` block; one with other characters is written as their codes."""
    own = renamed(call_id, "toolu")
    return own if _ALLOWED.fullmatch(own) else _WRITTEN_OUT + own.encode().hex()


def call_id(tool_use_id: str) -> str:
    """The id that the call has here."""
    codes = tool_use_id.removeprefix(_WRITTEN_OUT)
    if codes != tool_use_id:
        try:
            return bytes.fromhex(codes).decode()
        except ValueError:
            return tool_use_id
    return renamed(tool_use_id, "call")


def signature(turn_id: str) -> str:
    """The signature of a thinking block names the turn that thought it."""
    return minted_id("sig", turn_id)
