"""An agent of Pydantic AI."""

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from task import API_KEY, BASE_URL, MODEL, TASK, add

model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=BASE_URL, api_key=API_KEY))
agent = Agent(model, instructions="Be exact.", tools=[add])
print(agent.run_sync(TASK).output)
