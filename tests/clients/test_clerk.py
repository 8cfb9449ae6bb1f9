"""The example agent against a scripted endpoint: what it sends, and when it stops."""

from openai import AsyncOpenAI

from clients.examples.shop_clerk.__main__ import play
from clients.examples.shop_clerk.clerk import MAX_TURNS, Attempt, attempt
from clients.examples.shop_clerk.shop import TOOLS, Shop
from tests.clients.scripted_gateway import Asked, Reply, completion, scripted_gateway, tool_call

SHOP = Shop(tuple(range(2, 42)))


async def test_clerk_passes_tool_results_on_and_answers() -> None:
    """It sends the question and the tools, appends each call with its result, and ends at the first plain message."""
    script = iter(
        [tool_call("price", item="apple"), tool_call("calc", expression="3*2"), {"content": "6"}]
    )
    async with (
        scripted_gateway(lambda _: completion(next(script))) as gateway,
        AsyncOpenAI(base_url=f"{gateway.root}/v1", api_key="key") as client,
    ):
        attempted = await attempt(client, "What do 3 apple cost?", SHOP)

    assert attempted == Attempt(answer="6", turns=3, output_tokens=18)
    assert gateway.asked[0].body["tools"] == TOOLS
    last = gateway.asked[-1].body["messages"]
    assert [message["role"] for message in last] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "tool",
    ]
    assert [m["content"] for m in last if m["role"] == "tool"] == ["2", "6"]
    assert last[1]["tool_calls"][0]["function"]["arguments"] == '{"item": "apple"}'
    assert last[2]["tool_call_id"] == last[1]["tool_calls"][0]["id"]


async def test_clerk_gives_up_after_its_turns() -> None:
    """A model that only ever calls tools gets six turns and no answer."""
    async with (
        scripted_gateway(lambda _: completion(tool_call("price", item="apple"))) as gateway,
        AsyncOpenAI(base_url=f"{gateway.root}/v1", api_key="key") as client,
    ):
        attempted = await attempt(client, "What do 3 apple cost?", SHOP)

    assert attempted == Attempt(answer="", turns=MAX_TURNS, output_tokens=6 * MAX_TURNS)
    assert len(gateway.asked) == MAX_TURNS


async def test_example_plays_each_episode_under_its_own_path() -> None:
    """Every episode has a base URL of its own and ends with one reward that seals it."""

    def answer(asked: Asked) -> Reply:
        return Reply({}) if asked.path == "/v1/rewards" else completion({"content": "7"})

    async with scripted_gateway(answer) as gateway:
        mean = await play(gateway.root, "tg-key", episodes=3)

    paths = gateway.paths()
    episodes = [path.split("/")[2] for path in paths[::2]]
    assert mean == 0
    assert paths[::2] == [f"/e/{episode}/v1/chat/completions" for episode in episodes]
    assert len(set(episodes)) == 3
    assert [asked.body for asked in gateway.asked[1::2]] == [
        {"episode_id": episode, "value": 0.0, "complete": True} for episode in episodes
    ]
