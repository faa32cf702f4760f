"""Where bytes are: objects under keys, through obstore. In a folder by default; in S3; in memory for short runs.

An object appears whole or not at all, and is never changed once it is there.
"""

from __future__ import annotations

from longtake.store.objects import CHUNK_BYTES, Listed
from longtake.store.store import Store

__all__ = ["CHUNK_BYTES", "Listed", "Store"]
