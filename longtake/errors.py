"""Every error that Longtake raises on purpose.

LongtakeError
├── CallerError          what was asked can't be done; mend the request (it names the field)
│   ├── OrderError       the order is wrong, or can't be carried out as asked
│   ├── MediaError       a file is not what it should be: broken, too large, another kind
│   ├── AuthError        no key, a wrong key, a revoked key
│   ├── CreditError      the key's credits are used up
│   ├── UnknownError     no such thing, or another account's
│   ├── ConflictError    it exists, but can't be used so in its state
│   ├── TooLargeError    more bytes than the limit allows
│   └── LimitError       more than the key may ask for now; `retry_after_seconds` says when it may again
├── WorldError           something outside failed; `retryable` says whether trying again may help
│   ├── FetchError       an address could not be fetched
│   ├── StoreError       the object store did not do what it was asked
│   │   └── BucketError  a bucket's server is away, or refuses: told to those who run the server, not to clients
│   └── DatabaseError    the database is away, or does not answer in time
├── FaultError           a fault of ours: a promise inside the program was broken
└── Cancelled            not a failure: the caller took the order back
"""

from __future__ import annotations


class LongtakeError(Exception):
    """The root. `str(error)` is fit to be shown to the person who caused it."""


class CallerError(LongtakeError):
    """What was asked can't be done; the caller can mend it."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        """The path of the field that is wrong, in the words of the seed's JSON: `keyframes.frame0.url`."""


class OrderError(CallerError):
    """The order is wrong, or can't be carried out as asked. Remedy: the message says what is allowed."""


class MediaError(CallerError):
    """A file is not what it should be. Remedy: send another file; the message says what was found."""


class AuthError(CallerError):
    """No key, a wrong key or a revoked one. Remedy: `longtake keys create`."""


class CreditError(CallerError):
    """The key's credits are used up. Remedy: a key with more, or without a limit."""


class UnknownError(CallerError):
    """No such thing, or another account's: the two are not told apart."""


class ConflictError(CallerError):
    """The thing exists, but can't be used so in its state. Remedy: the message names the state."""


class TooLargeError(CallerError):
    """More bytes than the limit allows. Remedy: send less, or raise the setting that the message names."""


class LimitError(CallerError):
    """More than the key may ask for now. Remedy: wait, or a key with higher limits (`longtake keys create`)."""

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class WorldError(LongtakeError):
    """Something outside failed: a network, a disk, another service."""

    def __init__(self, message: str, *, retryable: bool = False, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds


class FetchError(WorldError):
    """An address could not be fetched, or must not be. Remedy: the message says which rule or answer."""


class StoreError(WorldError):
    """The object store did not do what it was asked. Remedy: disk, permissions, credentials."""


class BucketError(StoreError):
    """A bucket's server is away, or refuses. The message names settings and addresses: it is for those who run the
    server, and clients are told `TOLD`. Remedy: what the message says."""

    TOLD = "what keeps the videos can't be reached just now: try again"


class DatabaseError(WorldError):
    """The database is away, or does not answer in time. Remedy: try again; else its log, its disk, its load."""


class FaultError(LongtakeError):
    """A promise inside the program was broken: a fault of ours. Remedy: report it, with the log's lines."""


class Cancelled(LongtakeError):
    """The caller took the order back while it ran."""
