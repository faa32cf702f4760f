"""Takes webhooks and checks their signatures, with nothing but Python's standard library.

    WEBHOOK_SECRET="$(longtake webhooks secret)" python receive.py 9000

Then name `http://127.0.0.1:9000/` as `callback_url` (the server must allow that address: LONGTAKE_FETCH_ALLOW).
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

SECRET = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
TOLERANCE_SECONDS = 300
REMEMBERED = 10_000
seen: dict[str, None] = {}
"""The ids that were handled, oldest first."""


def is_genuine(headers: dict[str, str], body: bytes) -> bool:
    """Whether the sender knows the secret, and sent this lately: what was recorded before can't be played again."""
    id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit()) or abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    signed = hmac.new(SECRET, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    wanted = b"v1," + base64.b64encode(signed)
    return any(hmac.compare_digest(wanted, given.encode()) for given in headers.get("webhook-signature", "").split())


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 to what is genuine: anything else than 2xx would be sent again."""

    def do_POST(self) -> None:
        """One webhook."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        genuine = is_genuine(headers, body)
        if genuine and headers["webhook-id"] not in seen:  # the same one may come twice: its id tells
            told = json.loads(body)  # a generation, or an event of OpenAI's protocol
            print(told["id"], told.get("state") or told["type"], flush=True)
            seen[headers["webhook-id"]] = None
            if len(seen) > REMEMBERED:
                seen.pop(next(iter(seen)))
        self.send_response(204 if genuine else 401)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
