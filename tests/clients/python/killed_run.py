"""A run of rollouts that its test kills: `killed_run.py URL KEY FILE`."""

import sys
import time

from turngate import Episode, Row, Turngate, rollouts

ROWS = [{"question": f"{number}?", "answer": "Hello there."} for number in range(3)]
MEMBERS = 4


def agent(episode: Episode, row: Row) -> float:
    episode.openai(max_retries=0).chat.completions.create(
        model=episode.model, messages=[{"role": "user", "content": row.question}]
    )
    time.sleep(0.05)
    return 1.0


if __name__ == "__main__":
    url, key, file = sys.argv[1:]
    with Turngate(url, key) as turngate:
        rollouts(ROWS, agent, group_size=MEMBERS, concurrency=3, resume=file, turngate=turngate)
