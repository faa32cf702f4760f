// tus-js-client as it is used: sends 2 MiB, stops, and a second upload object goes on from there.
const fs = require("fs");
const tus = require("tus-js-client");

const [path, endpoint, key] = process.argv.slice(2);
const MIB = 1 << 20;
const options = {
  endpoint,
  chunkSize: MIB,
  retryDelays: [0, 100],
  headers: { Authorization: `Bearer ${key}` },
  metadata: { filename: "a.mp4", filetype: "video/mp4" },
  onError: (error) => {
    console.error(String(error));
    process.exit(1);
  },
};

const first = new tus.Upload(fs.createReadStream(path), {
  ...options,
  uploadSize: fs.statSync(path).size,
  onChunkComplete: async (_, sent) => {
    if (sent !== 2 * MIB) return;
    await first.abort();
    console.log(`sent ${sent}`);
    const second = new tus.Upload(fs.createReadStream(path), {
      ...options,
      uploadUrl: first.url,
      uploadSize: fs.statSync(path).size,
      onSuccess: () => console.log(second.url),
    });
    second.start();
  },
});
first.start();
