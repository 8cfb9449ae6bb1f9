"""Which runtime makes a call: by its user agent, its own headers, the first words of its instructions, or its tools."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import TypeVar

from msgspec.structs import replace

from gateway.finding.runtimes import LIBRARIES, OTHER, RUNTIMES, Runtime
from gateway.request.request import Request

MAX_REMEMBERED = 4096  # user agents, and beginnings of conversations
HEAD = 800  # characters of the instructions in which a runtime says what it is
LONGEST_AGENT = 64  # bytes of a user agent that are read; it is recognized by its beginning
KNOWN_TOOLS = frozenset[str]().union(*(each.tools for each in RUNTIMES))
OWN_HEADERS = {header: runtime for runtime in RUNTIMES for header in runtime.own_headers}

K = TypeVar("K")
V = TypeVar("V")


class Fingerprints:
    """Remembers what it recognized, so that most calls cost a few look-ups and no text is read."""

    def __init__(self) -> None:
        self._by_agent: OrderedDict[bytes, Runtime | None] = OrderedDict()
        self._by_words: OrderedDict[tuple[bytes, bytes, frozenset[str]], Runtime] = OrderedDict()

    def runtime_of(self, headers: Mapping[bytes, bytes], request: Request) -> Runtime:
        agent = headers.get(b"user-agent", b"")[:LONGEST_AGENT]
        if agent not in self._by_agent:
            _remember(self._by_agent, agent, _by_agent(agent))
        found = self._by_agent[agent] or _by_header(headers)
        return found or self._by_what_it_says(agent, request)

    def _by_what_it_says(self, agent: bytes, request: Request) -> Runtime:
        tools = _known_tools(request)
        key = (agent, request.prints[0], tools)
        found = self._by_words.get(key)
        if found is None:
            found = _guessed(_by_words(request) or _by_tools(tools) or _library(agent))
            _remember(self._by_words, key, found)
        return found


def instructions_of(request: Request) -> str:
    """The beginning of what the runtime tells its model to be; "" if the first message is no instruction."""
    first = request.messages[0]
    content = first.get("content") if first["role"] == "system" else ""
    return content[:HEAD] if isinstance(content, str) else ""


def _by_agent(agent: bytes) -> Runtime | None:
    text = agent.decode("latin-1").lower()
    return next((each for each in RUNTIMES if text.startswith(each.agents)), None)


def _by_header(headers: Mapping[bytes, bytes]) -> Runtime | None:
    if OWN_HEADERS.keys().isdisjoint(headers):
        return None
    return next(runtime for name, runtime in OWN_HEADERS.items() if name in headers)


def _by_words(request: Request) -> Runtime | None:
    head = instructions_of(request)
    marks = ((each, words) for each in RUNTIMES for words in each.says)
    return next((each for each, words in marks if words in head), None) if head else None


def _by_tools(offered: frozenset[str]) -> Runtime | None:
    return next((each for each in RUNTIMES if each.tools and each.tools <= offered), None)


def _known_tools(request: Request) -> frozenset[str]:
    """The names of the tools by which a runtime may be recognized."""
    return KNOWN_TOOLS & request.tools.names


def _guessed(runtime: Runtime) -> Runtime:
    """What another client may look like too must not join its calls: each is a sample."""
    return replace(runtime, repeats_unstreamed=False)


def _library(agent: bytes) -> Runtime:
    text = agent.decode("latin-1").lower()
    name = next((name for start, name in LIBRARIES.items() if text.startswith(start)), None)
    return OTHER if name is None else replace(OTHER, name=name)


def _remember(known: OrderedDict[K, V], key: K, value: V) -> None:
    known[key] = value
    if len(known) > MAX_REMEMBERED:
        known.popitem(last=False)
