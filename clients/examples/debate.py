"""A conversation of two agents: a solver answers, a critic says whether that is right, the solver has the last word.

Both are the policy that is being trained. Each keeps a history of its own, so an episode has two branches and trains as two
sequences. The solver's success rewards the episode; each true verdict earns the critic a reward of its own, by the id of its reply.

    python -m clients.examples.debate [--data train.jsonl]
"""

import argparse
from dataclasses import dataclass, field

from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from clients.examples.gsm8k.__main__ import easy_problems
from turngate import Episode, Row, graders, rollouts
from turngate.graders import Grader

ROUNDS = 2
RIGHT, WRONG = "RIGHT", "WRONG"
CRITIC = f"You check answers. Reply {RIGHT}, or {WRONG} and the mistake."


@dataclass
class Speaker:
    """One agent of the conversation, with its own history."""

    client: OpenAI
    max_tokens: int
    messages: list[ChatCompletionMessageParam] = field(default_factory=list)
    last_id: str = ""

    def reply(self, text: str) -> str:
        self.messages.append({"role": "user", "content": text})
        completion = self.client.chat.completions.create(
            model="policy", messages=self.messages, max_tokens=self.max_tokens, temperature=1.0
        )
        content = completion.choices[0].message.content or ""
        self.messages.append({"role": "assistant", "content": content})
        self.last_id = completion.id
        return content


def debate(episode: Episode, row: Row, grader: Grader, *, max_tokens: int) -> float:
    """Answer, criticize and answer again; returns the reward of the last answer."""
    solver = Speaker(episode.openai(), max_tokens)
    critic = Speaker(episode.openai(), max_tokens, [{"role": "system", "content": CRITIC}])
    answer = solver.reply(row.question)
    for _ in range(ROUNDS):
        verdict = critic.reply(f"{row.question}\n\nAnswer: {answer}")
        is_right = bool(grader.grade(answer, row))
        worth = worth_of(verdict, is_right=is_right)
        episode.reward(worth, name="verdict", completion_id=critic.last_id)
        if verdict.startswith(RIGHT):
            break
        answer = solver.reply(f"A reader objects: {verdict}\nAnswer again.")
    return grader.grade(answer, row)


def worth_of(verdict: str, *, is_right: bool) -> float:
    """One for the true word. Another reply earns nothing, or else a policy whose answers are wrong learns to write anything."""
    return float(verdict.startswith(RIGHT if is_right else WRONG))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a solver and a critic.")
    parser.add_argument("--data", help="JSON Lines of {question, answer}; easy problems without it")
    parser.add_argument("--max-tokens", type=int, default=64, help="of a reply")
    options = parser.parse_args()
    grader = graders.math()

    def agent(episode: Episode, row: Row) -> float:
        return debate(episode, row, grader, max_tokens=options.max_tokens)

    print(rollouts(options.data or easy_problems(64), agent))  # noqa: T201


if __name__ == "__main__":
    main()
