"""Tells clients' own addresses of what became of their generations: signed, in order, tried again for a day.

Signed as Standard Webhooks says (https://www.standardwebhooks.com): HMAC-SHA256 over id, time and body.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import random
import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import httpx2
import structlog

from longtake import metrics, tracing
from longtake.errors import CallerError, DatabaseError, FetchError, OrderError, UnknownError
from longtake.fetch import FetchRules, check_url, guarded_client
from longtake.records import Generation, Records, Webhook

log = structlog.get_logger("longtake.webhooks")
Body = Callable[[Generation, str], dict[str, Any]]
"""What a protocol says of a generation: the record, as it was when the event came, and the event's id → JSON."""
DELAYS_SECONDS = (1.0, 5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 28800.0)
"""Between one try and the next: a day in all. Each is drawn out by up to a tenth, so that many do not come at once."""
MOST_RETRY_AFTER_SECONDS = 3600.0
TIMEOUT_SECONDS = 15.0
GONE = 410
"""A receiver that wants no more."""
FORGOTTEN = "its generation was deleted long ago, and is forgotten"
SECRET_PREFIX = "whsec_"  # noqa: S105


def parse_secret(text: str) -> bytes:
    """`whsec_` and base64, as receivers are given it → the key, of 24 to 64 bytes. Raises CallerError."""
    try:
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        secret = b""
    if not 24 <= len(secret) <= 64:
        raise CallerError(f"a webhook secret is {SECRET_PREFIX} and 24 to 64 bytes in base64")
    return secret


def secret_of(master: bytes, account: str) -> bytes:
    """What an account's webhooks are signed with: whoever is given it can't sign for others. `""`: the house's own."""
    return hmac.new(master, f"webhooks of {account}".encode(), hashlib.sha256).digest()


def sign(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of the header `webhook-signature`."""
    signed = hmac.new(secret, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


class Webhooks:
    """Delivers."""

    def __init__(
        self,
        records: Records,
        bodies: Mapping[str, Body],
        secret: bytes,
        rules: FetchRules,
        *,
        house_url: str | None = None,
    ) -> None:
        """`secret`: what those of the accounts are made from. `house_url`: the address that is told of all."""
        self._house_url = house_url
        self._records = records
        self._webhooks = records.webhooks
        self._bodies = bodies
        self._secret = secret
        self._rules = replace(rules, timeout_seconds=TIMEOUT_SECONDS, reads=False)
        self._tls: ssl.SSLContext | None = None

    def deliver(self, number: int, turn: int) -> None:
        """One try. What came of it is recorded, and what is to be done next is handed to the workflows."""
        webhook = self._webhooks.turn(number, turn)
        if webhook is None:
            return
        try:
            now = self._records.get(webhook.generation_id)
        except UnknownError:  # it was sent anew later than gc keeps what was deleted
            self._webhooks.give_up(number, turn, FORGOTTEN)
            self._note("given_up")
            return
        with tracing.span("webhook", parent=now.trace, kind="client", generation=now.id, number=number):
            self._try(webhook, now, number, turn)

    def _try(self, webhook: Webhook, now: Generation, number: int, turn: int) -> None:
        tracing.note(event=webhook.event, tries=webhook.tries + 1)
        try:
            status, after = self._post(webhook, now)
            tracing.note(status=status)
            problem = "" if 200 <= status < 300 else f"the receiver answered {status}"
        except OrderError as error:  # no address that may be reached: another try would end the same
            self._webhooks.give_up(number, turn, error.message)
            self._note("given_up", error.message)
            return
        except FetchError as error:
            status, after, problem = 0, 0.0, error.message
        except DatabaseError:  # nothing was sent, and no try is used up: the workflow begins again
            raise
        except Exception:
            log.exception("fault", webhook=number)
            status, after, problem = 0, 0.0, "a fault of ours; the log tells more"
        log.info(
            "webhook", generation=webhook.generation_id, webhook_event=webhook.event, number=number, problem=problem
        )
        if not problem:
            self._webhooks.delivered(number, turn)
            self._note("delivered")
        elif status == GONE or webhook.tries >= len(DELAYS_SECONDS):
            self._webhooks.give_up(number, turn, problem)
            self._note("given_up", problem)
        else:
            delay = DELAYS_SECONDS[webhook.tries] * random.uniform(1, 1.1)  # noqa: S311
            self._webhooks.try_again(number, turn, problem, max(delay, after))
            self._note("again", problem)

    def _note(self, outcome: metrics.Outcome, problem: str = "") -> None:
        metrics.webhook_tried(outcome)
        if problem:
            tracing.fail(problem)

    def _post(self, webhook: Webhook, now: Generation) -> tuple[int, float]:
        """The receiver's status, and how long it asks to be left alone. A redirect is no delivery, and is not followed.

        Raises FetchError, OrderError for an address that must not be reached.
        """
        check_url(webhook.url, self._rules)
        if self._tls is None:
            self._tls = httpx2.create_ssl_context()
        account = "" if webhook.url == self._house_url else webhook.account
        body, timestamp = self._body(webhook, now), int(time.time())
        headers = {
            "content-type": "application/json",
            "webhook-id": webhook.message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(secret_of(self._secret, account), webhook.message_id, timestamp, body),
            **tracing.headers(),
        }
        with (
            guarded_client(self._rules, tls=self._tls) as client,
            client.stream("POST", webhook.url, content=body, headers=headers) as answer,
        ):
            after = answer.headers.get("retry-after", "")
            seconds = float(after) if re.fullmatch(r"[0-9]{1,5}", after) else 0.0
            return answer.status_code, min(seconds, MOST_RETRY_AFTER_SECONDS)

    def _body(self, webhook: Webhook, now: Generation) -> bytes:
        """What is sent: the generation as it was when the event came, in the words of the protocol that it came by."""
        then = replace(
            now,
            state=webhook.event,
            stage={"dreaming": "started"}.get(webhook.event, webhook.event),
            progress=1.0 if webhook.event == "completed" else 0.0,
            failure_reason=webhook.failure_reason,
            result=now.result if webhook.event == "completed" else None,
            ended_at=None if webhook.event == "dreaming" else now.ended_at,
        )
        return json.dumps(self._bodies[now.wire](then, webhook.message_id), ensure_ascii=False).encode()


__all__ = ["DELAYS_SECONDS", "Body", "Webhooks", "parse_secret", "secret_of", "sign"]
