"""openai-agents; the argument is the API that it speaks."""

import asyncio
import sys

from agents import (
    Agent,
    Runner,
    function_tool,
    set_default_openai_api,
    set_default_openai_client,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from task import API_KEY, BASE_URL, MAX_CALLS, MODEL, TASK, add

set_tracing_disabled(True)
set_default_openai_client(AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY))
set_default_openai_api(sys.argv[1])


async def main() -> str:
    agent = Agent(name="Clerk", instructions="Be exact.", model=MODEL, tools=[function_tool(add)])
    result = Runner.run_streamed(agent, TASK, max_turns=MAX_CALLS)
    async for _ in result.stream_events():
        pass
    return result.final_output


print(asyncio.run(main()))
