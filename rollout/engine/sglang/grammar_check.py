"""Asking an engine whether it can sample under a grammar, before the call that needs it.

SGLang compiles a grammar in a thread that nothing stops, so the server of `rollout.engine_server` tries it in a process
of its own first. Another SGLang server has no such route and has to cope.
"""

from collections import OrderedDict
from hashlib import blake2b
from http import HTTPStatus

import msgspec

from rollout.engine.errors import EngineBusy, EngineUnreachable, GrammarRefused
from rollout.engine.grammar import AfterThought, Grammar
from rollout.engine.http.client import HttpClient
from rollout.engine.sglang.engine_key import KEY_REFUSED, WRONG_KEY
from rollout.engine.sglang.error_text import error_text
from rollout.engine.sglang.sampling import named_grammar
from rollout.engine.sglang.server.grammars.limits import TOO_SLOW

REMEMBERED = 1024  # grammars whose verdict is known
MAX_CHARACTERS = 2**18  # the tools of large agents take a tenth of it

Verdict = str  # why the grammar is refused; empty if it is not


class GrammarCheck:
    """The verdicts of one engine; each grammar is sent once."""

    def __init__(self, url: str, http: HttpClient) -> None:
        self._engine = url
        self._http = http
        self._known: OrderedDict[bytes, Verdict] = OrderedDict()

    async def check(self, grammar: Grammar, *, seconds: float) -> None:
        """Raise GrammarRefused if the engine cannot sample under it."""
        if isinstance(grammar, AfterThought):  # a trial of the whole may not get beyond the thought
            await self.check(grammar.grammar, seconds=seconds)
        kind, text = _only(named_grammar(grammar))
        if len(text) > MAX_CHARACTERS:
            why = f"it has more than {MAX_CHARACTERS} characters"
            raise GrammarRefused(self._engine, why, grammar=grammar)
        digest = _digest(kind, text)
        if digest not in self._known:
            body = msgspec.json.encode({"kind": kind, "text": text})
            status, answer = await self._http.ask("/grammars", body, seconds=seconds)
            self._remember(digest, self._verdict(status, answer))
        self._known.move_to_end(digest)
        if self._known[digest]:
            raise GrammarRefused(self._engine, self._known[digest], grammar=grammar)

    def refuse(self, grammar: Grammar) -> GrammarRefused:
        """The error of a call that the engine ended because its grammar became slow."""
        self._remember(_digest(*_only(named_grammar(grammar))), TOO_SLOW)
        return GrammarRefused(self._engine, TOO_SLOW, grammar=grammar)

    def _remember(self, digest: bytes, verdict: Verdict) -> None:
        self._known[digest] = verdict
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _verdict(self, status: int, answer: bytes) -> Verdict:
        if status in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
            return ""
        if status in KEY_REFUSED:
            raise EngineUnreachable(self._engine, WRONG_KEY)
        why = error_text(answer)
        if status == HTTPStatus.BAD_REQUEST:
            return why
        raise EngineBusy(self._engine, why)


def _only(named: dict[str, str]) -> tuple[str, str]:
    (item,) = named.items()
    return item


def _digest(kind: str, text: str) -> bytes:
    return blake2b(f"{kind} {text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
