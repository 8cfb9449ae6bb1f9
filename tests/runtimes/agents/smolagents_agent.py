"""smolagents' agent that calls tools; its answer is a tool call too."""

from smolagents import OpenAIModel, ToolCallingAgent, tool
from task import API_KEY, BASE_URL, MAX_CALLS, MODEL, TASK, add

model = OpenAIModel(model_id=MODEL, api_base=BASE_URL, api_key=API_KEY)
agent = ToolCallingAgent(tools=[tool(add)], model=model, max_steps=MAX_CALLS, verbosity_level=0)
print(agent.run(TASK))
