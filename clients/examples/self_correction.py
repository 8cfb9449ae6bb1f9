"""Self-correction: the model answers, is told if that is wrong, and may try again.

Each attempt continues the conversation, so that an episode of three attempts trains as one sequence. A later success is worth
less: the model learns to be right at once, and to use the next chance if it is not.

    python -m clients.examples.self_correction [--data train.jsonl]
"""

import argparse

from openai.types.chat import ChatCompletionMessageParam

from clients.examples.gsm8k.__main__ import easy_problems
from turngate import Episode, Row, graders, rollouts
from turngate.graders import Grader

ATTEMPTS = 3
WORTH_LATER = 0.8  # of a success, for each attempt before it
TRY_AGAIN = "That is not right. Check each step, then end with #### and the number."


def correct_oneself(episode: Episode, row: Row, grader: Grader, *, max_tokens: int) -> float:
    """Ask until the answer is right or the attempts are used up; returns the reward."""
    client = episode.openai()
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": row.question}]
    for failures in range(ATTEMPTS):
        reply = client.chat.completions.create(
            model=episode.model, messages=messages, max_tokens=max_tokens, temperature=1.0
        )
        answer = reply.choices[0].message.content or ""
        if grader.grade(answer, row):
            return WORTH_LATER**failures
        messages += [
            {"role": "assistant", "content": answer},
            {"role": "user", "content": TRY_AGAIN},
        ]
    return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a model to correct itself.")
    parser.add_argument("--data", help="JSON Lines of {question, answer}; easy problems without it")
    parser.add_argument("--max-tokens", type=int, default=64, help="of an answer")
    options = parser.parse_args()
    grader = graders.math()

    def agent(episode: Episode, row: Row) -> float:
        return correct_oneself(episode, row, grader, max_tokens=options.max_tokens)

    print(rollouts(options.data or easy_problems(64), agent))  # noqa: T201


if __name__ == "__main__":
    main()
