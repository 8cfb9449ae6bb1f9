// The AI SDK with an OpenAI-compatible provider, streamed.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const turngate = createOpenAICompatible({
  name: "turngate",
  baseURL: process.env.AGENT_BASE_URL,
  apiKey: process.env.AGENT_API_KEY,
});
const add = tool({
  description: "Add two numbers.",
  inputSchema: z.object({ a: z.number(), b: z.number() }),
  execute: async ({ a, b }) => a + b,
});
const result = streamText({
  model: turngate("policy"),
  prompt: "Add the numbers from 1 to 4 with the tool, one call for each sum, then say the total.",
  tools: { add },
  stopWhen: stepCountIs(8),
});
console.log(await result.text);
