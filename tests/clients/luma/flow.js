// The official client as it is used: makes videos longer, larger and of another shape, and waits for them.
const { LumaAI } = require("lumaai");

const [baseURL, authToken, first, second] = process.argv.slice(2);
const client = new LumaAI({ baseURL, authToken });

async function finished({ id }) {
  for (;;) {
    const found = await client.generations.get(id);
    if (found.state === "completed" || found.state === "failed") return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const model = "ray-2";
const parent = (id) => ({ type: "generation", id });

(async () => {
  const made = {
    append: await client.generations.create({ model, prompt: "On and on", keyframes: { frame0: parent(first) } }),
    prepend: await client.generations.video.create({ model, prompt: "Before", keyframes: { frame1: parent(first) } }),
    bridge: await client.generations.create({
      model,
      prompt: "Between",
      keyframes: { frame0: parent(first), frame1: parent(second) },
    }),
    upscale: await client.generations.upscale(first, { resolution: "540p" }),
  };
  const whole = await client.generations.get(first);
  made.reframe = await client.generations.video.reframe({
    generation_type: "reframe_video",
    model,
    aspect_ratio: "9:16",
    media: { url: whole.assets.video },
    resolution: "540p",
  });
  const done = {};
  for (const [name, generation] of Object.entries(made)) done[name] = await finished(generation);
  const page = await client.generations.list({ limit: 2, offset: 0 });
  const unwanted = await client.generations.create({ model, prompt: "Never seen", resolution: "540p" });
  await client.generations.delete(unwanted.id);
  console.log(
    JSON.stringify({
      made,
      done,
      page,
      unwanted: unwanted.id,
      concepts: await client.generations.concepts.list(),
      credits: await client.credits.get(),
      ping: await client.ping.check(),
    }),
  );
})();
