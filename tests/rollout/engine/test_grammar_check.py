"""What becomes of a call whose grammar an engine is asked about first."""

import pytest

from rollout.engine.errors import EngineBusy, GrammarRefused
from rollout.engine.generation import GenerateRequest, SamplingParameters
from rollout.engine.grammar import Ebnf, Grammar, Regex
from rollout.engine.sglang.server.grammars.limits import TOO_SLOW
from tests.engine_script import Length, Refuse, Tokens
from tests.engines import connected
from tests.gateways import StartGateway
from tests.scripted_engine import running_engine


def call(grammar: Grammar) -> GenerateRequest:
    return GenerateRequest("c", [1, 2], SamplingParameters(max_tokens=1, grammar=grammar))


async def test_an_engine_is_asked_once_about_each_grammar() -> None:
    """Text and kind together are what it is asked about."""
    async with running_engine() as scripted, connected(scripted.url) as engine:
        scripted.default = (Tokens([5]), Length())
        for grammar in (Regex("a"), Regex("a"), Ebnf("a"), Regex("b"), Regex("a")):
            await engine.generate(call(grammar))

    asked = [(grammar["kind"], grammar["text"]) for grammar in scripted.grammars]
    assert asked == [("regex", "a"), ("ebnf", "a"), ("regex", "b")]
    assert len(scripted.requests) == 5


async def test_a_refused_grammar_is_never_sent_again() -> None:
    """The second call fails at once, and neither reaches the sampling."""
    async with running_engine() as scripted, connected(scripted.url) as engine:
        scripted.refuses_grammars = (400, "it is too slow")
        for _ in range(2):
            with pytest.raises(GrammarRefused, match=r"^the grammar is refused: it is too slow$"):
                await engine.generate(call(Regex("a")))

    assert len(scripted.grammars) == 1
    assert scripted.requests == []


@pytest.mark.parametrize("status", [400, 500])
async def test_a_grammar_that_became_slow_is_the_callers_fault(status: int) -> None:
    """The engine has no status of its own for it; it is not taken for broken, and not asked again."""
    slow = f"Grammar accept_token failed: {TOO_SLOW}"
    async with running_engine() as scripted, connected(scripted.url) as engine:
        scripted.default = (Refuse(status, slow),)
        for _ in range(2):
            with pytest.raises(GrammarRefused, match="too long"):
                await engine.generate(call(Regex("a")))

    assert len(scripted.requests) == 1


async def test_a_busy_engine_gives_no_verdict() -> None:
    """The same grammar is asked about again, and accepted then."""
    async with running_engine() as scripted, connected(scripted.url) as engine:
        scripted.default = (Tokens([5]), Length())
        scripted.refuses_grammars = (503, "later")
        with pytest.raises(EngineBusy, match="later"):
            await engine.generate(call(Regex("a")))
        scripted.refuses_grammars = None
        await engine.generate(call(Regex("a")))

    assert len(scripted.grammars) == 2


async def test_an_engine_without_this_route_is_trusted() -> None:
    """Any SGLang server can be an engine."""
    async with running_engine() as scripted, connected(scripted.url) as engine:
        scripted.default = (Tokens([5]), Length())
        scripted.refuses_grammars = (404, "Not Found")

        assert (await engine.generate(call(Regex("a")))).ids == [5]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"regex": "(a*)*"}, "regex"),
        ({"ebnf": "root ::= root root"}, "ebnf"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
async def test_the_caller_learns_which_field_is_refused(
    start_gateway: StartGateway, body: dict[str, object], param: str
) -> None:
    """A 400 that no SDK repeats, and that names no engine."""
    async with running_engine() as scripted, start_gateway(scripted) as served:
        scripted.refuses_grammars = (400, "it is too slow")
        answer = await served.admin.post(
            "/v1/chat/completions",
            json={"messages": [{"role": "user", "content": "pen"}], **body},
        )

    error = answer.json()["error"]
    assert (answer.status_code, answer.headers["x-should-retry"]) == (400, "false")
    assert (error["code"], error["param"]) == ("grammar_refused", param)
    assert error["message"] == "the grammar is refused: it is too slow"
