"""Human thumbs as late rewards: people chat now and judge a reply later, by the id that the SDK returned with it.

python -m clients.examples.thumbs chat                        # prints the id of each reply
python -m clients.examples.thumbs vote chatcmpl-… up          # minutes or hours later, from anywhere
"""

import argparse
from collections.abc import Callable

from openai.types.chat import ChatCompletionMessageParam

from turngate import Episode, NewReward, Turngate

A_DAY = 24 * 60 * 60.0
WORTH = {"up": 1.0, "down": 0.0}


def chat(episode: Episode, said: Callable[[], str], show: Callable[[str, str], None]) -> None:
    """One conversation, which is one episode; it ends at an empty line. `show` gets each reply with its id."""
    client = episode.openai()
    messages: list[ChatCompletionMessageParam] = []
    while text := said():
        messages.append({"role": "user", "content": text})
        reply = client.chat.completions.create(
            model=episode.model, messages=messages, max_tokens=256, temperature=1.0
        )
        content = reply.choices[0].message.content or ""
        messages.append({"role": "assistant", "content": content})
        show(reply.id, content)


def vote(turngate: Turngate, votes: dict[str, str]) -> None:
    """Post what people thought, up or down by the id of a reply: all of it is recorded, or none."""
    turngate.rewards(
        NewReward(WORTH[thumb], completion_id=completion_id, name="thumb")
        for completion_id, thumb in votes.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Chat now, judge later.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("chat", help="talk to the policy; an empty line ends the conversation")
    voting = commands.add_parser("vote", help="judge a reply by its id")
    voting.add_argument("completion_id")
    voting.add_argument("thumb", choices=list(WORTH))
    options = parser.parse_args()
    turngate = Turngate()
    if options.command == "vote":
        vote(turngate, {options.completion_id: options.thumb})
        return
    with turngate.episode(task="chat", reward_deadline_seconds=A_DAY) as episode:
        chat(episode, lambda: input("you: "), lambda id, text: print(f"{text}\n  [{id}]"))  # noqa: T201


if __name__ == "__main__":
    main()
