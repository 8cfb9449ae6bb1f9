"""An agent as users have them: it knows its two strings from the environment, and takes turns until its plan is over.

python agent.py PLAN [EXIT CODE]     PLAN: chat, again, title, fresh, wait, joined by commas
"""

import os
import sys
import time
from typing import Any

import httpx

URL = f"{os.environ['OPENAI_BASE_URL']}/chat/completions"
HEADERS = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}", "User-Agent": "own/1"}


def call(messages: list[dict[str, Any]], **headers: str) -> dict[str, Any]:
    body = {"model": os.environ["OPENAI_MODEL"], "messages": messages}
    answer = httpx.post(URL, json=body, headers=HEADERS | headers, trust_env=False, timeout=30)
    answer.raise_for_status()
    message: dict[str, Any] = answer.json()["choices"][0]["message"]
    return message


def main(plan: str, code: str = "0") -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Begin."}]
    for step in plan.split(","):
        if step == "chat":
            messages += [call(messages), {"role": "user", "content": "Go on."}]
        elif step == "again":
            call(messages[:1])
        elif step == "fresh":
            call([{"role": "user", "content": "Another matter."}])
        elif step == "title":
            call([{"role": "user", "content": "A title."}], **{"X-Turngate-Turn-Kind": "side"})
        elif step == "wait":
            sys.stdout.write("waiting\n")
            sys.stdout.flush()
            time.sleep(60)
    sys.exit(int(code))


if __name__ == "__main__":
    main(*sys.argv[1:])
