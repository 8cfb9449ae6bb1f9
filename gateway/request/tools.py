"""The tools that a call offers, with what is made of them for every call: their JSON and hashes.

An agent offers the same tools in each of its calls, in the same bytes, so a dialect reads and checks them once.
"""

from collections.abc import Mapping
from functools import cached_property
from hashlib import blake2b

import orjson

Tool = dict[str, object]

_DIGEST_BYTES = 12
_MAX_STARTS = 16  # template arguments that differ between calls with the same tools are rare


class Tools(tuple[Tool, ...]):  # noqa: SLOT001 - what is derived is kept beside the tools
    """Never changed once they are made."""

    @cached_property
    def encoded(self) -> bytes:
        return orjson.dumps(tuple(self))

    @cached_property
    def digest(self) -> str:
        return seed(self.encoded)

    @cached_property
    def names(self) -> frozenset[str]:
        functions = (tool.get("function") for tool in self)
        named = (each.get("name") for each in functions if isinstance(each, dict))
        return frozenset(name for name in named if isinstance(name, str))

    def start(self, template: str, arguments: Mapping[str, object]) -> str:
        """The hash of what comes before the first message: template, tools, template arguments."""
        written = orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS)
        if not self:  # NO_TOOLS is shared by all calls, so nothing of a call is kept with it
            return seed(template.encode(), self.encoded, written)
        known = self._starts.get((template, written))
        if known is None:
            if len(self._starts) >= _MAX_STARTS:
                self._starts.clear()
            known = seed(template.encode(), self.encoded, written)
            self._starts[template, written] = known
        return known

    @cached_property
    def _starts(self) -> dict[tuple[str, bytes], str]:
        return {}


NO_TOOLS = Tools()


def seed(*parts: bytes) -> str:
    """A hash of several texts."""
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()
