// The official client as a program uses it: makes, waits, lists, extends, remixes, saves, deletes; prints what it got.
const fs = require("fs");
const path = require("path");
const OpenAI = require("openai");

const [baseURL, apiKey, film, image, folder] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const found = {};

async function finished(video) {
  while (video.status === "queued" || video.status === "in_progress") {
    const { data, response } = await client.videos.retrieve(video.id).withResponse();
    video = data;
    const wait = Number(response.headers.get("openai-poll-after-ms") ?? 0);
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
  return video;
}

async function refusal(call) {
  try {
    await call();
  } catch (error) {
    return [error.constructor.name, error.status, error.param, error.code];
  }
  return "it was taken";
}

async function main() {
  const prompt = "A jellyfish drifts";
  found.extended = await finished(await client.videos.extend({ prompt, seconds: "4", video: { id: film } }));

  const input_reference = await OpenAI.toFile(fs.createReadStream(image), "image.png");
  found.created = await client.videos.create({ prompt, input_reference, seconds: "8", size: "320x180" });
  const bytes = Buffer.from(await (await client.videos.downloadContent(film)).arrayBuffer());
  const video = await OpenAI.toFile(bytes, "film.mp4");
  found.brought = await client.videos.extend({ prompt, seconds: "4", video });
  found.named = await client.videos.extend({ prompt, seconds: "20", video: film });
  found.remixed = await client.videos.remix(film, { prompt: "at night" });

  found.listed = [];
  for await (const one of client.videos.list({ limit: 2, order: "asc" })) found.listed.push(one.id);
  found.page = (await client.videos.list({ limit: 2 })).data.length;

  for (const [variant, ending] of [["video", "mp4"], ["thumbnail", "webp"], ["spritesheet", "jpg"]]) {
    const content = await client.videos.downloadContent(film, { variant });
    fs.writeFileSync(path.join(folder, `film.${ending}`), Buffer.from(await content.arrayBuffer()));
  }
  const part = await client.videos.downloadContent(film, {}, { headers: { Range: "bytes=4-7" } });
  found.part = [part.status, Buffer.from(await part.arrayBuffer()).toString()];

  found.deleted = [];
  for (const one of [found.created, found.brought, found.named, found.remixed]) {
    found.deleted.push(await client.videos.delete(one.id));
  }
  found.refusals = {
    prompt: await refusal(() => client.videos.create({ prompt: "" })),
    size: await refusal(() => client.videos.create({ prompt, size: "1x1" })),
    key: await refusal(() => new OpenAI({ baseURL, apiKey: "wrong", maxRetries: 0 }).videos.list()),
    unknown: await refusal(() => client.videos.retrieve("video_0")),
    conflict: await refusal(() => client.videos.extend({ prompt, seconds: "4", video: { id: found.created.id } })),
    edit: await refusal(() => client.videos.edit({ prompt, video: { id: film } })),
    character: await refusal(() => client.videos.getCharacter("char_1")),
  };
  console.log(JSON.stringify(found));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
