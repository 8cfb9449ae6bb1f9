"""`turngate episode`: the picture of a real gateway's episodes, and what it says when there is none to draw."""

import io
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from deploy.cli.episode_picture import Picture
from deploy.cli.shown_text import shown
from deploy.gateway_api.episode import Episode, Span, branches
from rollout.tokenizer.tokenizer import Tokenizer
from tests.deploy.conftest import Command
from tests.gateway.conftest import end_of_turn, spell
from tests.gateways import ADMIN_KEY, Gateway, StartGateway
from tests.rollout.play import claim, own_group, policy
from tests.scripted_engine import running_engine
from trainer.algorithms import RunningBaseline
from trainer.batch.batch import prepare
from trainer.composition.composition import Composition

USER: Any = {"role": "user", "content": "What does a melon cost?\tPlease\u200b.  "}
MORE: Any = {"role": "user", "content": "And a vase?"}


async def play(served: Gateway, *messages: Any, side: bool = False) -> Any:
    """One call of ep_1; the answer's message."""
    headers = {"X-Turngate-Turn-Kind": "side"} if side else {}
    path = "/e/ep_1/v1/chat/completions"
    reply = await served.admin.post(path, json={"messages": list(messages)}, headers=headers)
    return reply.json()["choices"][0]["message"]


async def test_an_episode_is_drawn(
    start_gateway: StartGateway, tokenizer: Tokenizer, command: Command
) -> None:
    """Spans with their signs, branches below what they leave, why tokens do not train, rewards, and credit once trained."""
    async with running_engine() as engine, start_gateway(engine) as served:
        engine.default = (*spell(tokenizer, "It costs 4."), end_of_turn(tokenizer))
        where = ("--gateway", served.url, "--key", ADMIN_KEY)
        answer = await play(served, USER)
        await play(served, USER, answer, MORE)
        await play(served, USER, {"role": "assistant", "content": "It costs 5."}, MORE)
        await play(served, MORE, side=True)
        turns = await served.store.turns("ep_1")
        style = {"value": 0.5, "name": "style", "turn_id": turns[1].id}
        await served.admin.post("/v1/episodes/ep_1/rewards", json=style)
        await served.admin.post("/v1/episodes/ep_1/rewards", json={"value": 1, "complete": True})
        before, _ = await command("episode", "show", "ep_1", *where)

        claims = await claim(served.store)
        batch = prepare(
            claims,
            parts=Composition(),
            baseline=RunningBaseline(weight=9.0, variance=1.0),
            training_version=0,
            token_budget=10_000,
        )
        await served.store.ack("trainer", [own_group("ep_1")], policy(1), credit=batch.credit)
        after, _ = await command("episode", "show", "ep_1", *where)
        rows, _ = await command("episode", "show", "ep_1", "--sequences", *where)
        as_json, _ = await command("episode", "show", "ep_1", "--output", "json", *where)
        listed, _ = await command("episode", "list", *where)

    assert "rewarded" in before
    assert "+1.5 = +1 reward, +0.5 style for turn 2" in before
    assert "advantage" not in before
    assert before.count("●") - before.count("● sampled, trains") == 3
    size = len(tokenizer.encode("It costs 4.")) + 1
    assert f"✕ sampled {size} tokens · does not train: side · turn 4" in before
    assert "branch after" in before
    assert "What does a melon cost?⇥Please⟨U+200B⟩. " in before
    assert "reward +0.5 style" in before
    assert "trained into v1" in after
    assert f"advantage {batch.advantages[0]:+.3g}" in after
    segments = [s for row in json.loads(as_json)["sequences"] for s in row["segments"]]
    assert rows.count("Row ") == 2
    assert rows.count("● sampled ") == sum(segment["turn"] is not None for segment in segments)
    assert "ep_1 trained 4 +1.5 trained into v1" in " ".join(listed.split())
    written = before + rows + listed
    assert "\x1b" not in written
    assert all(line == line.rstrip() for line in written.splitlines())


async def test_an_episode_that_cannot_be_drawn_is_an_error(
    start_gateway: StartGateway, command: Command
) -> None:
    """An unknown episode, a wrong key, no key and an unreachable gateway each get one line and no traceback."""
    async with running_engine() as engine, start_gateway(engine) as served:
        url = served.url
        outcomes = [
            await command("episode", "show", "ep_none", "--gateway", url, "--key", ADMIN_KEY),
            await command("episode", "show", "ep_1", "--gateway", url, "--key", "tg-wrong"),
            await command("episode", "show", "ep_1", "--gateway", url),
        ]
    outcomes.append(await command("episode", "list", "--gateway", url, "--key", ADMIN_KEY))

    assert [output for output, _ in outcomes] == [""] * 4
    unknown, wrong, keyless, unreachable = (error for _, error in outcomes)
    assert "no episode ep_none" in unknown
    assert "this API key is not known" in wrong
    assert "pass one that the gateway accepts" in keyless
    assert f"cannot reach the gateway at {url}" in unreachable


async def test_an_episode_outlives_its_tokens_in_the_picture(command: Command) -> None:
    """Of an expired episode the facts are shown, and that the rest is gone."""
    episode = Episode.parse(episode_content(turns=[], num_turns=3, status="trained"))

    drawn = draw(Picture(episode), width=80)

    assert "trained into v7" in drawn
    assert "Its tokens have expired." in drawn


@given(st.text(max_size=300), st.booleans())
def test_every_character_can_be_seen(text: str, whole: bool) -> None:
    """Nothing invisible reaches the terminal, and a text shown whole has every visible character in order."""
    plain = shown(text, whole=whole).plain
    visible = [c for c in text if c.isprintable() and not c.isspace()]

    assert all(c.isprintable() or c == "\n" for c in plain)
    assert all("\n" not in line and line == line.rstrip(" ") for line in plain.split("\n"))
    if whole:
        remaining = iter(plain)
        assert all(c in remaining for c in visible)


def test_long_texts_are_folded_with_a_count() -> None:
    """A system prompt of a hundred lines takes seven, the middle one says how much is missing."""
    text = "\n".join(f"line {number}" for number in range(100))

    plain = shown(text).plain.split("\n")

    assert len(plain) == 7
    assert plain[3] == "[… 94 lines, 745 characters …]"
    assert plain[-1] == "line 99"
    assert "[… 760 characters …]" in shown("x" * 1000).plain
    assert shown("See <|image_pad|>" + "<|image_pad|>" * 999).plain == "See <|image_pad|> × 1000"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_picture_keeps_to_the_width(width: int) -> None:
    """Headings and texts wrap inside their branch at any width, and no line is longer than the terminal is wide."""
    tokens = [
        span("span_0", None, 0, 40, text="word " * 90),
        span("span_1", "span_0", 40, 30, text="y" * 500, kind="sampled"),
        *(
            span(f"span_{n}", f"span_{n - 1}", 5, 30, text="z " * 99, kind="sampled")
            for n in range(2, 7)
        ),
    ]
    episode = Episode.parse(episode_content(tokens=tokens, sequences=[]))

    lines = draw(Picture(episode, whole=True), width=width).splitlines()

    assert max(len(line) for line in lines) <= width
    assert sum(line.count("y") for line in lines) > 500


def test_branches_of_branches_leave_room_for_text() -> None:
    """A thousand branches, each leaving the one before, are drawn in trees of five, and every span is there once."""
    ends = [span(f"span_{n}a", f"span_{n - 1}", 30, 90, text=f"<{n}>") for n in range(1, 1000)]
    turns = [span(f"span_{n}", f"span_{n - 1}", 5, 30, text=f"<{n}.>") for n in range(1, 1000)]
    tokens = [
        span("span_0", None, 0, 30),
        *(s for pair in zip(turns, ends, strict=True) for s in pair),
    ]

    drawn = draw(Picture(Episode.parse(episode_content(tokens=tokens))), width=80)

    assert max(map(len, drawn.splitlines())) <= 80
    assert drawn.count("<") == 2 * 999
    unwrapped = " ".join(re.split(r"[│├└─\s]+", drawn))
    promised = re.findall(r"see branch (\d+)", unwrapped)
    assert promised == re.findall(r"Branch (\d+)", unwrapped)
    assert len(promised) == 199


def test_context_says_what_is_special_about_it() -> None:
    """An end token that was added, and images, are named beside the span that holds them."""
    added = span("span_0", None, 0, 10, flags=["injected_eos"], media=[{"digest": "x"}] * 2)

    drawn = draw(Picture(Episode.parse(episode_content(tokens=[added]))), width=80)

    assert "○ context 10 tokens · 2 images · injected eos" in drawn


def test_the_longest_way_stays_on_the_left() -> None:
    """At a fork the branch with most tokens below goes on, the others hang below the span in the order they leave it."""
    tokens = [
        span("root", None, 0, 10),
        span("short", "root", 10, 3),
        span("long", "root", 10, 2),
        span("longer", "long", 2, 5),
        span("early", "root", 4, 50),
    ]

    (branch,) = branches([Span(**given) for given in tokens])

    assert [s.id for s in branch.spans] == ["root", "long", "longer"]
    assert [b.spans[0].id for b in branch.leaving["root"]] == ["early", "short"]


def draw(picture: Picture, *, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(picture.tree(), soft_wrap=True)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def span(id_: str, parent: str | None, offset: int, size: int, **other: Any) -> dict[str, Any]:
    """A span as the gateway sends it."""
    content = {
        "id": id_,
        "parent": parent,
        "offset": offset,
        "kind": "context",
        "turn_id": "turn_a",
        "choice_index": 0,
        "tokens": [1] * size,
        "text": "",
        "behavior_logprobs": None,
        "versions": [],
        "flags": [],
        "trains": False,
        "orphaned": None,
        "rows": [],
    }
    if other.get("kind") == "sampled":
        content |= {"behavior_logprobs": [-0.5] * size, "orphaned": "abandoned"}
        content |= {"versions": [(3, 0, size)], "flags": ["truncated", "constrained"]}
    return content | other


def episode_content(**other: Any) -> dict[str, Any]:
    """An episode as the gateway sends it."""
    return {
        "id": "ep_1",
        "status": "discarded",
        "num_turns": 1,
        "reward": None,
        "disposition": "stale",
        "policy_version": 7 if other.get("status") == "trained" else None,
        "task_id": "task-17",
        "created": 0,
        "group_id": "grp_1",
        "sealed": 60,
        "settled": 70,
        "outcome": "succeeded",
        "truncated": True,
        "turns": [{"id": "turn_a", "output_tokens": [30]}],
        "rewards": [],
    } | other
