"""Calls without any carrier: each conversation is an episode of its own, whatever other conversations go on under its key."""

import asyncio
import uuid
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.request.conversation_hash import print_of
from gateway.request.request import ChatMessage
from gateway.request.said import NEWEST, OLDEST, said_after, said_before
from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.turn import encode_turn
from rollout.store.finding_transitions import Clues
from rollout.store.store import Store
from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.api.playing import CHAT
from tests.gateway.conftest import end_of_turn, spell
from tests.gateways import Gateway
from tests.profiles import examples
from tests.rollout.turns import turn
from tests.scripted_engine import ScriptedEngine

STEPS = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(["go on", "go on", "edit", "repeat"]), st.integers(0, 3)),
    max_size=25,
)  # fmt: skip
SYSTEM = {"role": "system", "content": "Help."}


def user(text: str) -> ChatMessage:
    return {"role": "user", "content": text}


def answer(text: str) -> ChatMessage:
    return {"role": "assistant", "content": text}


@dataclass
class Agent:
    """It begins as all others do; each answer it gets is its own, as sampled answers are."""

    name: str
    key_id: str
    has_clock: bool  # its instructions differ in every call
    messages: list[ChatMessage] = field(default_factory=lambda: [SYSTEM, user("Hi")])
    episodes: list[str] = field(default_factory=list)  # of its calls

    async def call(self, store: Store) -> None:
        number = len(self.episodes)
        if self.has_clock:
            self.messages[0] = {"role": "system", "content": f"Help. It is {number}."}
        prints = [print_of(message) for message in self.messages]
        clues = Clues(self.key_id, words=tuple(said_before(self.messages, prints)))
        id_ = uuid.uuid4().hex
        if clues.are_there:
            id_, _ = await store.find(clues, otherwise=id_)
        await store.begin(EpisodeSpec(id_, key_id=self.key_id, is_named=False), since=0)
        got = answer(f"{self.name} {number}")
        made, said = turn(uuid.uuid4().hex), said_after(self.messages, prints, print_of(got))
        await store.commit(id_, made, encoded=encode_turn(made), said=(self.key_id, *said))
        self.episodes.append(id_)
        self.messages = [*self.messages, got]

    async def step(self, store: Store, what: str, place: int) -> None:
        """Answer the last reply, go back behind an earlier one and say something else, or lose the last reply."""
        number = len(self.episodes)
        if what == "repeat" and len(self.messages) > 3:
            self.messages = self.messages[:-1]
        elif what == "edit" and number:
            self.messages = [*self.messages[: 3 + 2 * place], user(f"no, {number}")]
            self.messages = [each for each in self.messages if each]
        elif number:
            self.messages = [*self.messages, user("and then?")]
        if self.messages[-1]["role"] == "assistant":
            self.messages = [*self.messages, user("?")]
        await self.call(store)


@examples(0.6)
@given(STEPS, st.booleans())
def test_each_conversation_is_one_episode(
    redis_url: str, steps: list[tuple[int, str, int]], has_clock: bool
) -> None:
    """In any order of five conversations under two keys and over two gateways; edited histories and repeats stay inside."""

    async def converse() -> None:
        project = uuid.uuid4().hex
        stores = [Store.connect(redis_url, project=project) for _ in "ab"]
        agents = [Agent(f"agent {n // 2}", f"key_{n % 2}", has_clock) for n in range(5)]
        for number, (who, what, place) in enumerate(steps):
            await agents[who].step(stores[number % 2], what, place)
        for store in stores:
            await store.close()
        for agent in agents:
            assert len(set(agent.episodes)) <= 1
        every = [agent.episodes[0] for agent in agents if agent.episodes]
        assert len(set(every)) == len(every)

    asyncio.run(converse())


@examples(0.4)
@given(st.integers(0, 80), st.booleans())
def test_what_was_said_after_an_answer_is_found_before_the_next_call(
    num_answers: int, has_clock: bool
) -> None:
    """A call finds the digest that its last answer was recorded with; beyond 48 answers the oldest and the newest are compared."""
    messages: list[Any] = [SYSTEM, user("Hi")]
    recorded = []
    for number in range(num_answers):
        prints = [print_of(message) for message in messages]
        recorded.append(said_after(messages, prints, print_of(answer(str(number)))))
        messages += [answer(str(number)), user("Go on.")]
    if has_clock:
        messages[0] = {"role": "system", "content": "Help. It is noon."}
    found = said_before(messages, [print_of(message) for message in messages])
    wanted = recorded[::-1]
    if len(wanted) > NEWEST + OLDEST:
        wanted = [*wanted[:NEWEST], *wanted[-OLDEST:]]

    assert [said.without for said in found] == [said.without for said in wanted]
    if not has_clock:
        assert found == wanted


async def test_a_conversation_goes_on_at_another_gateway(
    served: Gateway, other: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """Calls that send nothing but their messages are one episode with one sequence, and the episode says how it was found."""
    messages: list[Any] = [user("Hi")]
    episodes = []
    for number, gateway in enumerate((served, other, served)):
        scripted.script(*spell(tokenizer, f"Answer {number}."), end_of_turn(tokenizer))
        reply = await gateway.admin.post(CHAT, json={"messages": messages})
        messages += [reply.json()["choices"][0]["message"], user("And then?")]
        episodes.append(reply.headers["x-turngate-episode"])

    assert len(set(episodes)) == 1
    shown = (await served.admin.get(f"/v1/episodes/{episodes[0]}")).json()
    assert [each["found_by"] for each in shown["turns"]] == [
        "a new episode",
        "what was said before",
        "what was said before",
    ]
    rows = await served.admin.get(f"/v1/episodes/{episodes[0]}?view=sequences")
    assert len(rows.json()["data"]) == 1


async def test_equal_conversations_are_shared_out(served: Gateway) -> None:
    """Two agents that get the same answer to the same question go on in two episodes; a sealed episode is found no more."""
    first: Any = [user("Hi")]
    opened = [await served.admin.post(CHAT, json={"messages": first}) for _ in "ab"]
    after: Any = [*first, opened[0].json()["choices"][0]["message"], user("And?")]
    went_on = [await served.admin.post(CHAT, json={"messages": after}) for _ in "ab"]
    episodes = [reply.headers["x-turngate-episode"] for reply in opened]
    assert {reply.headers["x-turngate-episode"] for reply in went_on} == set(episodes)

    for episode in episodes:
        await served.admin.post(f"/v1/episodes/{episode}/complete", json={})
    late = await served.admin.post(CHAT, json={"messages": after})
    assert late.status_code == 200
    assert late.headers["x-turngate-episode"] not in episodes
