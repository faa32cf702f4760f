"""A video as a player fetches it by HLS (RFC 8216): from its segments, and while its new part is still rendered.

The worker publishes each group of frames as soon as it is coded, as an object of its own, and keeps the timeline so far
beside it (`Live`). The front makes playlists and their parts of that, or of the finished timeline (`Watch`): the same
stretches, at the same addresses.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final
from weakref import WeakKeyDictionary

import structlog

from longtake.errors import FaultError, StoreError, UnknownError
from longtake.footage import Look, Run, meanwhile, run_of
from longtake.media.fragments import Fragments, stretches
from longtake.media.packets import ParameterSets
from longtake.planning import Plan
from longtake.records import Generation
from longtake.store import Store
from longtake.timeline import Segment, Timeline

log = structlog.get_logger("longtake.watching")
PLAYABLE = ("h264", "hevc", "vp9")
"""Codecs that HLS players take."""
LEAST_TARGET = Fraction(2)
MOST_SECONDS = 30
"""Of one part: it is put together in memory."""
PATIENCE_SECONDS: Final = 20.0
"""How long rendering waits for the store to take what can be watched: far less than for what must be kept."""
SAME_SECONDS: Final = 1.0
"""How long it is taken for granted whether a video that is rendered can be watched."""
MOST_ASKED: Final = 1000
"""Videos of which that is known."""
_parameter_sets: Final[WeakKeyDictionary[Store, ParameterSets]] = WeakKeyDictionary()


class Live:
    """What the worker tells of a video that is being rendered: a pointer of this run to its groups, and to what others
    have done."""

    def __init__(
        self,
        run: Run,
        plan: Plan,
        tail: Segment | None,
        lead: Segment | None,
        store: Store,
        done: Sequence[Segment] = (),
        look: Look = lambda: None,
    ) -> None:
        """What is there already can be watched from now on. `tail` and `lead` are what is encoded again at the cuts,
        `done` the pieces of the new part that are there. `look` is called while the store is waited for.

        Where an earlier run has published groups, they stay until this one has more: its frames are the same. Once
        the store fails, or takes longer than `PATIENCE_SECONDS`, nothing more of this run is published: it is rendered
        for whoever waits for it.
        """
        self._run, self._store, self._look = run, store, look
        format, head, rest = plan.outline.format, plan.head, plan.rest
        self._shown = Timeline(format, (*(head.segments if head else ()), *((tail,) if tail else ()), *done))
        self._rest = Timeline(format, (*((lead,) if lead else ()), *(rest.segments if rest else ())))
        self._num_groups = 0
        self._published, self._is_given_up = -1, False
        self._tell(self._shown, self._look_back)

    def publish(self, group: bytes, num_frames: int) -> None:
        """Raises nothing of the store's, but what `look` raises."""
        if self._is_given_up:
            return
        key = self._run.key("live", f"-{self._num_groups:05}.mp4")
        self._num_groups += 1
        more = Timeline(self._shown.format, (Segment(self._run.id, key, 0, num_frames, (0,)),))
        self._tell(self._shown + more, lambda: self._store.put(key, group))

    def _tell(self, shown: Timeline, first: Callable[[], None]) -> None:
        """Once `first` is done, `shown` can be watched. What is left alone in this may still come to its end: all that
        the pointer names is there before it."""

        def work() -> None:
            first()
            if shown.num_frames > self._published:
                data = {"shown": shown.to_json(), "rest": self._rest.to_json()}
                self._store.put(self._run.key("live", ".json"), json.dumps(data).encode())

        try:
            meanwhile(self._look, work, PATIENCE_SECONDS)
            self._shown, self._published = shown, max(self._published, shown.num_frames)
        except (StoreError, TimeoutError) as error:
            self._is_given_up = True
            log.warning("no more of it can be watched while it is rendered", generation=self._run.id, why=str(error))

    def _look_back(self) -> None:
        earlier = _read(self._run.id, self._run.attempt, self._store)
        self._published = earlier.shown.num_frames if earlier else -1


@dataclass(frozen=True, slots=True)
class Watch:
    """A video that can be watched."""

    shown: Timeline
    """What there is of it."""
    rest: Timeline
    """What will follow what is still rendered."""
    is_whole: bool

    @classmethod
    def of(cls, generation: Generation, store: Store) -> Watch:
        """Raises UnknownError where there is nothing of it to be watched, or nothing any more."""
        if generation.result:
            found = cls(generation.result.timeline, Timeline(generation.result.timeline.format, ()), True)
        elif generation.state == "dreaming" and (live := _read(generation.id, generation.attempt, store)):
            found = live
        else:
            raise UnknownError(f"there is nothing yet to be watched of generation {generation.id}")
        if found.shown.format.coding.codec not in PLAYABLE:
            raise UnknownError(f"HLS players do not take {found.shown.format.coding.codec}: fetch the video itself")
        if any(stretch.seconds > MOST_SECONDS for stretch in (*stretches(found.shown), *stretches(found.rest))):
            raise UnknownError(
                f"a player would have to fetch more than {MOST_SECONDS} s of it at once, for so far apart are its key"
                " frames: fetch the video itself"
            )
        return found

    def playlist(self, address: Callable[[str], str]) -> str:
        """The media playlist; `address` makes a URL of the name of a part: `header.mp4`, or `<start>-<stop>.m4s`."""
        parts, later = list(stretches(self.shown)), list(stretches(self.rest))
        # A playlist's target duration must not change, so it allows for what follows.
        longest = max((part.seconds for part in (*parts, *later)), default=LEAST_TARGET)
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:7",
            f"#EXT-X-TARGETDURATION:{int(max(longest, LEAST_TARGET) + Fraction(1, 2))}",
            "#EXT-X-INDEPENDENT-SEGMENTS",
            f"#EXT-X-PLAYLIST-TYPE:{'VOD' if self.is_whole else 'EVENT'}",
        ]
        if parts:
            lines.append(f'#EXT-X-MAP:URI="{address("header.mp4")}"')
        for part in parts:
            lines += [f"#EXTINF:{float(part.seconds):.6f},", address(f"{part.start}-{part.stop}.m4s")]
        return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if self.is_whole else []), ""])

    def part(self, name: str, store: Store) -> bytes:
        """The bytes of a part that the playlist names. Raises UnknownError for another name."""
        whole = self.shown + self.rest
        found = next((s for s in stretches(self.shown) if name == f"{s.start}-{s.stop}.m4s"), None)
        if not whole.segments or not (found or name == "header.mp4"):
            raise UnknownError("there is no such part of the video")
        known = _parameter_sets.setdefault(store, ParameterSets())
        fragments = Fragments(whole, store.open, ours=not self.is_whole, known=known)
        return fragments.fragment(found.start, found.stop) if found else fragments.header()


def look_again(look: Callable[[], Watch], name: str | None, store: Store) -> tuple[Watch, bytes]:
    """What can be watched, as `look` finds it, and the bytes of a part of it; none without a name.

    What is published while a video is rendered is removed when that is done: whoever looks in that moment finds
    nothing, or half of it, and looks again, at the finished video, which has the same parts. Raises UnknownError.
    """
    try:
        watch = look()
        return watch, watch.part(name, store) if name else b""
    except (UnknownError, FaultError):
        watch = look()
        return watch, watch.part(name, store) if name else b""


def is_watchable(generation: Generation, store: Store) -> bool:
    """Whether its playlist answers now."""
    try:
        return bool(Watch.of(generation, store))
    except UnknownError:
        return False


class Watchable:
    """`is_watchable`, for who asks again and again: of what can be watched already the store is asked once a second.

    For any number of threads at a time.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._told: OrderedDict[tuple[str, int], tuple[float, bool]] = OrderedDict()
        """By id and attempt: until when what holds."""

    def __call__(self, generation: Generation) -> bool:
        if generation.state != "dreaming":
            return is_watchable(generation, self._store)
        name = generation.id, generation.attempt
        with self._lock:
            until, answer = self._told.get(name, (0.0, False))
        if time.monotonic() < until:
            return answer
        answer = is_watchable(generation, self._store)
        if answer:  # who waits for its first frames hears of them at once
            with self._lock:
                self._told[name] = time.monotonic() + SAME_SECONDS, answer
                self._told.move_to_end(name)
                if len(self._told) > MOST_ASKED:
                    self._told.popitem(last=False)
        return answer


def _read(id: str, attempt: int, store: Store) -> Watch | None:
    """What the run of this attempt that has come farthest tells of.

    One that was given up may go on telling for a while: its frames are the same, and what is shown never gets shorter.
    """
    found: list[Watch] = []
    for key in store.keys(f"live/{id}"):
        run = run_of(key)
        if key.endswith(".json") and run and run[0] == attempt:
            with suppress(UnknownError):  # just removed
                data: dict[str, Any] = json.loads(store.read(key))
                found.append(Watch(Timeline.from_json(data["shown"]), Timeline.from_json(data["rest"]), False))
    return max(found, key=lambda watch: watch.shown.num_frames, default=None)
