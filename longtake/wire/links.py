"""Signed, expiring addresses of stored objects, so that a `<video>` tag needs no key."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from longtake.errors import OrderError
from longtake.orders import KeyFrame

UPLOAD_KEY = re.compile(r"uploads/(?P<id>[0-9a-f-]{36})\.(?P<kind>png|video)")

PLAYLIST = "playlist.m3u8"


def playlist_key(id: str) -> str:
    """What the address of a generation's HLS playlist is signed for."""
    return f"hls/{id}/{PLAYLIST}"


class Links:
    """Signs keys as `/media/<key>?expires=<Unix seconds>&signature=<hex>`, HMAC-SHA256 of both."""

    def __init__(self, secret: bytes, ttl_seconds: int) -> None:
        if len(secret) < 16 or ttl_seconds < 1:
            raise ValueError("links need a secret of 16 bytes or more, and live for a second or more")
        self._secret = secret
        self._ttl_seconds = ttl_seconds
        self._step_seconds = max(1, ttl_seconds // 4)

    def path(self, key: str) -> str:
        """Opens the object for the time to live at least, and for a quarter more at most.

        The expiry is rounded up to that quarter: asked again, the address stays the same for a while, and caches hold.
        """
        steps = int(time.time()) // self._step_seconds + 1
        return f"/media/{key}?{self.query(key, str(steps * self._step_seconds + self._ttl_seconds))}"

    def query(self, key: str, expires: str) -> str:
        """What comes after the `?`: opens the object until `expires`, in Unix seconds."""
        return f"expires={expires}&signature={self._sign(key, expires)}"

    def url(self, key: str, base_url: str) -> str:
        """`base_url` is without a slash at its end."""
        return base_url + self.path(key)

    def seconds_left(self, key: str, expires: str, signature: str) -> int | None:
        """How long this address still opens the object; None where it does not."""
        genuine = hmac.compare_digest(self._sign(key, expires).encode(), signature.encode("utf-8", "replace"))
        if not genuine or not re.fullmatch(r"[0-9]{1,12}", expires):
            return None
        left = int(expires) - int(time.time())
        return left if left > 0 else None

    def key_frame(self, type: Literal["image", "video"], url: str, base_url: str, field: str) -> KeyFrame:
        """The end of a shot at `url`. An address of ours is known again: it stands for the upload, and is not fetched.

        It is known by its signature, whatever host name and folder it was reached by. Raises OrderError for an
        address below `base_url` that was changed or has expired, and for one of ours that is not an upload's.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            return KeyFrame(type=type, url=url)
        key, query = parts.path.rpartition("/media/")[2], parse_qs(parts.query)
        expires, signature = query.get("expires", [""])[0], query.get("signature", [""])[0]
        is_signed = self.seconds_left(key, expires, signature) is not None
        if not is_signed and url.startswith(f"{base_url}/media/"):
            raise OrderError("this address of ours was changed, or has expired", field=field)
        if not is_signed:
            return KeyFrame(type=type, url=url)
        upload = UPLOAD_KEY.fullmatch(key)
        if upload is None:
            raise OrderError(
                "of our own addresses only those of uploads are taken here: name a generation by its id", field=field
            )
        return KeyFrame(type=type, upload=upload["id"])

    def _sign(self, key: str, expires: str) -> str:
        return hmac.new(self._secret, f"{key}\n{expires}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()
