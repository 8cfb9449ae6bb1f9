"""A workflow of your own in one file: your data, your calls in your order, your reward. Copy it and change the three parts.

This one lets the model write a slogan and then a shorter one, and rewards short ones that name the product.

    python -m clients.examples.own_workflow
"""

from openai import OpenAI

from turngate import Episode, Row, rollouts

PRODUCTS = ["a kettle that sings", "a lamp for deep caves", "shoes for a robot", "a quiet drum"]
FEW_WORDS = 8


def workflow(client: OpenAI, product: str) -> str:
    """Two calls; any number in any order will do, and so will a framework that takes a client or a base URL."""
    draft = ask(client, f"Write a slogan for {product}.")
    return ask(client, f"Make this slogan shorter: {draft}")


def reward(slogan: str, product: str) -> float:
    """A half for naming the product, a half for few words."""
    noun = product.split()[1]
    is_short = 0 < len(slogan.split()) <= FEW_WORDS
    return ((noun in slogan.lower()) + is_short) / 2


def ask(client: OpenAI, text: str) -> str:
    reply = client.chat.completions.create(
        model="policy",
        messages=[{"role": "user", "content": text}],
        max_tokens=64,
        temperature=1.0,
    )
    return reply.choices[0].message.content or ""


def agent(episode: Episode, row: Row) -> float:
    """What is returned rewards the episode."""
    return reward(workflow(episode.openai(), row.question), row.question)


def main() -> None:
    table = rollouts([{"question": product} for product in PRODUCTS], agent, group_size=8)
    print(table)  # noqa: T201


if __name__ == "__main__":
    main()
