// Takes webhooks and checks their signatures, with nothing but Node's own modules.
//
//   WEBHOOK_SECRET="$(longtake webhooks secret)" node receive.js 9000
//
// Then name http://127.0.0.1:9000/ as callback_url (the server must allow that address: LONGTAKE_FETCH_ALLOW).
const { createHmac, timingSafeEqual } = require("node:crypto");
const { createServer } = require("node:http");

const secret = Buffer.from(process.env.WEBHOOK_SECRET.replace(/^whsec_/, ""), "base64");
const toleranceSeconds = 300;
const remembered = 10000;
const seen = new Set(); // the ids that were handled, oldest first

// Whether the sender knows the secret, and sent this lately: what was recorded before can't be played again.
function isGenuine(headers, body) {
  const id = headers["webhook-id"], timestamp = headers["webhook-timestamp"];
  if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) <= toleranceSeconds)) return false;
  const signed = createHmac("sha256", secret).update(`${id}.${timestamp}.`).update(body).digest("base64");
  const wanted = Buffer.from(`v1,${signed}`);
  return (headers["webhook-signature"] ?? "").split(" ").some((given) => {
    const bytes = Buffer.from(given);
    return bytes.length === wanted.length && timingSafeEqual(bytes, wanted);
  });
}

createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const body = Buffer.concat(chunks);
    const genuine = isGenuine(request.headers, body);
    if (genuine && !seen.has(request.headers["webhook-id"])) { // the same one may come twice: its id tells
      const told = JSON.parse(body); // a generation, or an event of OpenAI's protocol
      console.log(told.id, told.state ?? told.type);
      seen.add(request.headers["webhook-id"]);
      if (seen.size > remembered) seen.delete(seen.values().next().value);
    }
    response.writeHead(genuine ? 204 : 401).end(); // anything else than 2xx would be sent again
  });
}).listen(Number(process.argv[2]), "127.0.0.1");
