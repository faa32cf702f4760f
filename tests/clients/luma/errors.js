// What the official client makes of refusals: the name of its class, the status and the text of each.
const { LumaAI } = require("lumaai");

const [baseURL, authToken, failed, limited] = process.argv.slice(2);
const client = new LumaAI({ baseURL, authToken, maxRetries: 0 });
const model = "ray-2";
const prompt = "A tiger walking in snow";
const nobody = "00000000-0000-4000-8000-000000000000";

const calls = {
  short: () => client.generations.create({ model, prompt: "ab" }),
  empty: () => client.generations.create({ model, prompt, keyframes: {} }),
  modify: () =>
    client.generations.video.modify({
      generation_type: "modify_video",
      model,
      mode: "flex_1",
      media: { url: "https://example.com/a.mp4" },
    }),
  image: () => client.generations.image.create({ model: "photon-1", prompt }),
  audio: () => client.generations.audio(failed, { prompt }),
  key: () => new LumaAI({ baseURL, authToken: "wrong", maxRetries: 0 }).ping.check(),
  unknown: () => client.generations.get(nobody),
  conflict: () => client.generations.create({ model, prompt, keyframes: { frame0: { type: "generation", id: failed } } }),
  limit: async () => {
    const poor = new LumaAI({ baseURL, authToken: limited, maxRetries: 0 });
    for (let time = 0; time < 3; time++) await poor.ping.check();
  },
};

(async () => {
  const found = {};
  for (const [name, call] of Object.entries(calls)) {
    try {
      await call();
      found[name] = null;
    } catch (error) {
      const kind = Object.keys(LumaAI).find((one) => LumaAI[one] === error.constructor);
      found[name] = [kind, error.status, error.error?.detail];
    }
  }
  console.log(JSON.stringify(found));
})();
