// OpenAI's official client for Node. Run by test_openai_node.py, which says where the gateway is.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const baseURL = process.env.CHANGEOVER_URL;
const apiKey = process.env.CHANGEOVER_KEY;
const client = new OpenAI({ baseURL, apiKey });
const model = "summarise";
const user = (content) => [{ role: "user", content }];
const weather = {
  name: "weather",
  description: "The weather of a city.",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};
const tools = [{ type: "function", function: weather }];
const call = 'call weather {"city": "Bergen"}';

test("a chat is answered, and headers say by whom", async () => {
  const { data, response } = await client.chat.completions
    .create({ model, messages: user("The ferry is late.") })
    .withResponse();
  assert.equal(data.model, model);
  assert.equal(data.choices[0].message.content, "The ferry is late.");
  for (const name of ["route", "deployment", "bundle", "request-id"]) {
    assert.ok(response.headers.get(`x-changeover-${name}`), name);
  }
});

test("a chat is streamed", async () => {
  const stream = await client.chat.completions.create({
    model,
    messages: user("one two three"),
    stream: true,
    stream_options: { include_usage: true },
  });
  let said = "";
  let usage;
  for await (const chunk of stream) {
    said += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(said, "one two three");
  assert.ok(usage.completion_tokens > 0);
});

test("a stream that is left ends the request", async () => {
  const stream = await client.chat.completions.create({ model, messages: user("one two three"), stream: true });
  for await (const chunk of stream) {
    assert.equal(chunk.model, model);
    break;
  }
});

test("a tool is called, whole and streamed", async () => {
  const whole = await client.chat.completions.create({ model, messages: user(call), tools });
  const streamed = await client.chat.completions.stream({ model, messages: user(call), tools }).finalChatCompletion();
  for (const { choices } of [whole, streamed]) {
    assert.equal(choices[0].finish_reason, "tool_calls");
    const [{ function: called }] = choices[0].message.tool_calls;
    assert.equal(called.name, "weather");
    assert.deepEqual(JSON.parse(called.arguments), { city: "Bergen" });
  }
});

test("an answer has the shape that was asked for", async () => {
  const schema = {
    type: "object",
    properties: { number: { type: "string" }, paid: { type: "boolean" } },
    required: ["number", "paid"],
    additionalProperties: false,
  };
  const answer = await client.chat.completions.parse({
    model,
    messages: user("Invoice 7, paid"),
    response_format: { type: "json_schema", json_schema: { name: "invoice", strict: true, schema } },
  });
  assert.deepEqual(Object.keys(answer.choices[0].message.parsed).sort(), ["number", "paid"]);
});

test("texts become vectors", async () => {
  const packed = await client.embeddings.create({ model, input: ["a ferry", "a train"] });
  const plain = await client.embeddings.create({ model, input: ["a ferry", "a train"], encoding_format: "float" });
  assert.equal(packed.data.length, 2);
  assert.equal(packed.data[1].embedding.length, plain.data[1].embedding.length);
  packed.data[1].embedding.forEach((value, place) => {
    assert.ok(Math.abs(value - plain.data[1].embedding[place]) < 1e-6);
  });
});

test("a response is answered and streamed", async () => {
  const whole = await client.responses.create({ model, input: "one two three" });
  assert.equal(whole.output_text, "one two three");
  let said = "";
  for await (const event of await client.responses.create({ model, input: "one two three", stream: true })) {
    if (event.type === "response.output_text.delta") said += event.delta;
  }
  assert.equal(said, "one two three");
});

test("a legacy completion is answered", async () => {
  const answer = await client.completions.create({ model, prompt: "once upon a time" });
  assert.ok(answer.choices[0].text.endsWith("once upon a time"));
});

test("models are the tasks", async () => {
  const names = [];
  for await (const each of client.models.list()) names.push(each.id);
  assert.ok(names.includes(model));
  assert.equal((await client.models.retrieve(model)).id, model);
});

test("errors are the client's own classes", async () => {
  const messages = user("hi");
  const stranger = new OpenAI({ baseURL, apiKey: "co-wrong" });
  await assert.rejects(stranger.chat.completions.create({ model, messages }), OpenAI.AuthenticationError);
  await assert.rejects(client.chat.completions.create({ model: "gpt-9", messages }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.match(error.message, /summarise/);
    return true;
  });
  await assert.rejects(client.chat.completions.create({ model, messages: [] }), OpenAI.BadRequestError);
  const hasty = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
  await assert.rejects(hasty.chat.completions.create({ model: "overloaded", messages }), OpenAI.RateLimitError);
});
