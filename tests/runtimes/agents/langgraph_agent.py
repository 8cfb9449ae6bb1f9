"""An agent of LangChain on LangGraph."""

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from task import API_KEY, BASE_URL, MODEL, TASK, add

model = ChatOpenAI(model=MODEL, base_url=BASE_URL, api_key=API_KEY)
agent = create_agent(model, tools=[add], system_prompt="Be exact.")
result = agent.invoke({"messages": [{"role": "user", "content": TASK}]})
print(result["messages"][-1].content)
