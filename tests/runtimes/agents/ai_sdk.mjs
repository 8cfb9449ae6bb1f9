// The AI SDK, streamed: with an OpenAI-compatible provider, or with OpenAI's own, which speaks Responses.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const settings = {
  name: "turngate",
  baseURL: process.env.AGENT_BASE_URL,
  apiKey: process.env.AGENT_API_KEY,
};
const turngate =
  process.argv[2] === "responses" ? createOpenAI(settings) : createOpenAICompatible(settings);
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
