"""Plays the shop clerk against a running Turngate: two strings and one reward call per episode.

python -m clients.examples.shop_clerk --base-url http://127.0.0.1:8000 --api-key tg-… --episodes 64
"""

import argparse
import asyncio
from random import Random
from uuid import uuid4

from openai import AsyncOpenAI

from clients.examples.shop_clerk.clerk import attempt
from clients.examples.shop_clerk.shop import ITEMS, QUANTITIES, Order, Shop


async def play(base_url: str, api_key: str, episodes: int) -> float:
    """The mean reward of some episodes, one after another."""
    random = Random()  # noqa: S311 - prices, not secrets
    rewards = []
    async with AsyncOpenAI(base_url=f"{base_url}/v1", api_key=api_key) as turngate:
        for _ in range(episodes):
            first, second = random.sample(ITEMS, 2)
            order = Order(first, second, random.choice(QUANTITIES), random.choice(QUANTITIES))
            rewards.append(await play_one(turngate, base_url, order, Shop.opened(random)))
    return sum(rewards) / episodes


async def play_one(turngate: AsyncOpenAI, base_url: str, order: Order, shop: Shop) -> float:
    episode = f"ep_{uuid4().hex}"
    client = turngate.with_options(base_url=f"{base_url}/e/{episode}/v1")
    attempted = await attempt(client, order.question, shop)
    reward = order.reward(shop, attempted.answer)
    body = {"episode_id": episode, "value": reward, "complete": True}
    await turngate.post("/rewards", body=body, cast_to=object)
    print(f"{order.question} {attempted.answer}  reward {reward:g}")  # noqa: T201
    return reward


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--base-url", required=True, help="the gateway, without /v1")
    parser.add_argument("--api-key", required=True, help="a project key that may infer and reward")
    parser.add_argument("--episodes", type=int, default=16)
    options = parser.parse_args()
    mean = asyncio.run(play(options.base_url.rstrip("/"), options.api_key, options.episodes))
    print(f"mean reward {mean:.2f}")  # noqa: T201


if __name__ == "__main__":
    main()
