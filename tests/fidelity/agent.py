"""An agent that sends bodies as it likes them, and gets a policy that knows nothing to say what a case needs.

What is sampled freely comes from random weights: odd ids, broken characters, no end. A grammar fixes the text, where a case
needs one, and leaves its tokens to the policy.
"""

import re
from typing import Any

from tests.fidelity.received import EPISODE
from tests.gateways import Gateway

USER: Any = {"role": "user", "content": "What does a melon cost?"}
NEXT: Any = {"role": "user", "content": "And two?"}
PRICE: Any = {
    "type": "function",
    "function": {
        "name": "price",
        "parameters": {"type": "object", "properties": {"item": {"type": "string"}}},
    },
}


async def ask(
    served: Gateway, messages: list[Any], *, episode_id: str = EPISODE, **body: Any
) -> dict[str, Any]:
    """The only choice of an unstreamed chat completion."""
    answer = await served.admin.post(
        "/v1/chat/completions",
        headers={"X-Turngate-Episode": episode_id},
        json={"messages": messages, "max_tokens": 16, **body},
    )
    assert answer.status_code == 200, answer.text
    (choice,) = answer.json()["choices"]
    return choice


def saying(text: str) -> dict[str, Any]:
    """Makes the policy say this and end its turn, be it byte by byte."""
    return {"regex": re.escape(text), "max_tokens": len(text.encode()) + 1}
