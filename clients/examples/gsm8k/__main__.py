"""Trains on word problems with GRPO: eight attempts at each, compared with each other, rewarded if the number is right.

python -m clients.examples.gsm8k                                     # easy problems, for the demo's math starter
python -m clients.examples.gsm8k --data train.jsonl --max-tokens 512   # GSM8K, or anything in its format
"""

import argparse
from collections.abc import Coroutine
from dataclasses import asdict
from itertools import islice

from clients.examples.gsm8k.problems import problems
from clients.examples.gsm8k.solver import MAX_TOKENS, attempt
from turngate import AsyncEpisode, Row, graders, rollouts
from turngate.graders import GradedAgent


def easy_problems(count: int) -> list[dict[str, object]]:
    """Rows as a file of GSM8K has them."""
    return [asdict(problem) for problem in islice(problems("recipe"), count)]


def make_agent(*, max_tokens: int) -> GradedAgent[AsyncEpisode, Coroutine[object, object, str]]:
    @graders.math()
    async def agent(episode: AsyncEpisode, row: Row) -> str:
        attempted = await attempt(episode.openai(), row.question, max_tokens=max_tokens)
        return attempted.answer

    return agent


def main() -> None:
    parser = argparse.ArgumentParser(description="Train on word problems.")
    parser.add_argument("--data", help="JSON Lines of {question, answer}; easy problems without it")
    parser.add_argument("--problems", type=int, default=64, help="how many easy ones")
    parser.add_argument("--group-size", type=int, default=8, help="attempts at each problem")
    parser.add_argument("--max-tokens", type=int, default=MAX_TOKENS, help="of an answer")
    options = parser.parse_args()

    agent = make_agent(max_tokens=options.max_tokens)
    dataset = options.data or easy_problems(options.problems)
    print(rollouts(dataset, agent, group_size=options.group_size))  # noqa: T201


if __name__ == "__main__":
    main()
