"""A clip that goes on region by region: which regions leave the one walk that all the picture would take, and their
pictures put together again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property, partial
from itertools import chain, starmap

import cv2
import numpy as np

from longtake.engines.motion.append import Continuation, drawn_from
from longtake.engines.motion.coast import Coast
from longtake.engines.motion.frame import Box, Frame, stretch
from longtake.engines.motion.morph import Morph
from longtake.engines.motion.patience import go_on
from longtake.engines.motion.plan import Jump, Turn
from longtake.engines.motion.regions import Region, part, regions
from longtake.engines.motion.tail import Tail
from longtake.engines.motion.threads import Draw
from longtake.frames import Plane

_LOOKS_AHEAD_SECONDS = 2.0
_MOST_MIXED = 0.4
"""Of a jump's passage: where more of it shows two moments at once, they are not very alike."""
_TEST_SECONDS = 0.7
_TESTED_AT = (0.35, 0.7, 1.0)
_MOST_WORSE = 1.1
"""A region's own way may have told its last moments with an error of so many times that of the one walk."""
_BAND = 256
"""Rows that are mixed at once."""
_LEAST_CHANGE = 0.15
"""Of all that changes: for less it is not worth while."""


class Way(IntEnum):
    """How something goes on after the clip's end: the less, the better."""

    JUMPS = 0
    JUMPS_MIXED = 1
    MORPHS = 2
    COASTS = 3
    TURNS = 4


_SAID = {
    Way.JUMPS: "with moments of their own that look alike",
    Way.JUMPS_MIXED: "with moments of their own, mixed as they change over",
    Way.MORPHS: "with moments of their own, each moved into",
    Way.COASTS: "as it changed, slower and slower",
    Way.TURNS: "played back",
}


def way_of(going: Continuation, frame_rate: float) -> Way:
    """The first that is not the clip's own frames in their order; what goes round unseen jumps."""
    if going.is_calm:
        return Way.JUMPS
    for piece, _ in going.plan(round(_LOOKS_AHEAD_SECONDS * frame_rate)):
        if isinstance(piece, Jump):
            return Way.JUMPS_MIXED if piece.num_mixed > _MOST_MIXED * piece.num_frames else Way.JUMPS
        if isinstance(piece, Morph):
            return Way.MORPHS
        if isinstance(piece, Coast):
            return Way.COASTS
        if isinstance(piece, Turn):
            return Way.TURNS
    return Way.TURNS


@dataclass(frozen=True, slots=True)
class Weave:
    """All that a `Woven` shows, as one piece of a plan."""

    ways: Sequence[Way]

    def said(self) -> str:
        """How many regions go which way."""
        counts = ", ".join(f"{self.ways.count(way)} {_SAID[way]}" for way in Way if way in self.ways)
        return f"Each of {len(self.ways)} parts of the picture goes on by itself ({counts})"


@dataclass(frozen=True, slots=True)
class Laid:
    """A region over what is below: its pictures fill the box, and are shown by the matte."""

    going: Continuation
    box: Box
    mattes: tuple[Plane, Plane]
    """Of the box's luma and of its chroma: 0 to 255."""


@dataclass(frozen=True)
class Woven:
    """One walk for all the picture, and over it regions that go their own ways: to be played as a `Continuation` is."""

    ground: Continuation
    laid: Sequence[Laid]
    ways: Sequence[Way]
    """The ground's first."""
    energy: float

    def plan(self, num_frames: int) -> Iterator[tuple[Weave, int]]:
        yield Weave(self.ways), num_frames

    def draws(self, _piece: object, length: int, start: int = 0) -> Iterator[Draw]:
        return self._put_together(lambda going: drawn_from(start, going.plan(length), going.draws))

    def draws_backwards(self, _piece: object, length: int, start: int = 0) -> Iterator[Draw]:
        def backwards(going: Continuation) -> Iterator[Draw]:
            return drawn_from(start, reversed(list(going.plan(length))), going.draws_backwards)

        return self._put_together(backwards)

    def _put_together(self, draws: Callable[[Continuation], Iterator[Draw]]) -> Iterator[Draw]:
        over = [draws(one.going) for one in self.laid]
        for below, *above in zip(draws(self.ground), *over, strict=True):
            yield partial(self._drawn, below, above)

    def _drawn(self, below: Draw, above: Sequence[Draw]) -> Frame:
        made = Frame(*(plane.copy() for plane in below()))
        for draw, one in zip(above, self.laid, strict=True):
            _lay(made, draw(), one)
        return made


def going_on(tail: Tail, frame_rate: float, seed: int, *, is_calm: bool = False) -> Continuation | Woven:
    """One walk for all the picture, or one for each region that has a better one."""
    whole = Continuation(tail, frame_rate, seed, is_calm=is_calm)
    return woven(tail, frame_rate, seed, whole) or whole


def woven(tail: Tail, frame_rate: float, seed: int, whole: Continuation) -> Woven | None:
    """None where one walk, `whole`, is as good: it jumps to moments that are alike, or nothing can leave it."""
    one_walk = way_of(whole, frame_rate)
    if one_walk is Way.JUMPS:
        return None
    found, past = regions(tail, frame_rate), _Past(tail, frame_rate, seed)
    leaving = [
        (going, region)
        for number, region in enumerate(found)
        if (going := _own_way(region, tail, frame_rate, seed + number, one_walk, past)) is not None
    ]
    if len(leaving) == len(found):
        leaving = leaving[1:]
    if not leaving:
        return None
    rest = np.asarray(1 - np.sum([region.matte for _, region in leaving], axis=0), np.float32)
    ground = Continuation(part(tail, rest, Box(0, 0, tail.frames.width, tail.frames.height)), frame_rate, seed)
    ways = [way_of(going, frame_rate) for going in (ground, *(going for going, _ in leaving))]
    if ways[0] > one_walk:
        return None
    return Woven(ground, [_laid(going, region, tail) for going, region in leaving], ways, tail.energy)


def _own_way(
    region: Region, tail: Tail, frame_rate: float, seed: int, one_walk: Way, past: _Past
) -> Continuation | None:
    """Of a region that has a better way of its own, which would have told its last moments no worse."""
    if region.change < _LEAST_CHANGE:
        return None
    own = Continuation(part(tail, region.matte, region.box(tail)), frame_rate, seed)
    if own.turns_by_itself and one_walk <= Way.MORPHS:
        return None  # to look for a way out of the turn takes long, and would not be better
    way = way_of(own, frame_rate)
    return own if way < one_walk and past.told_as_well(region, way) else None


class _Past:
    """The clip without its last moments: how well each way would have told them. On proxies."""

    def __init__(self, tail: Tail, frame_rate: float, seed: int) -> None:
        self._tail = tail
        self._rate = frame_rate
        self._seed = seed
        self._steps = max(1, round(_TEST_SECONDS * frame_rate))

    def told_as_well(self, region: Region, way: Way) -> bool:
        """A clip too short to tell, and one that had not this way then, get the benefit of the doubt."""
        if len(self._tail.proxies) < 3 * self._steps:
            return True
        lumas, box = _Lumas(self._tail.frames, self._tail.proxies[: -self._steps]), _grid_box(region)
        own = Continuation(_cut(lumas, region, box), self._rate, self._seed)
        if way_of(own, self._rate) != way:
            return True
        one_walk = self._error(self._by_one_walk, Box(0, 0, *region.matte.shape[::-1]), region)
        return self._error(self._told(own), box, region) <= _MOST_WORSE * one_walk

    @cached_property
    def _by_one_walk(self) -> list[Plane]:
        lumas = _Lumas(self._tail.frames, self._tail.proxies[: -self._steps])
        return self._told(Continuation(lumas, self._rate, self._seed))

    def _told(self, going: Continuation) -> list[Plane]:
        draws = chain.from_iterable(starmap(going.draws, going.plan(self._steps)))
        places = {max(1, round(share * self._steps)) for share in _TESTED_AT}
        return [draw().y for step, draw in enumerate(draws, 1) if step in places]

    def _error(self, told: Sequence[Plane], box: Box, region: Region) -> float:
        places = sorted({max(1, round(share * self._steps)) for share in _TESTED_AT})
        matte, errors = region.matte[box.where], []
        for place, luma in zip(places, told, strict=True):
            truth = self._tail.proxies[place - 1 - self._steps][box.where]
            errors.append(float(np.mean(matte * (luma.astype(np.float32) - truth) ** 2)) * matte.size)
        return float(np.mean(errors))


@dataclass(frozen=True, slots=True)
class _Lumas(Tail):
    """The proxies themselves as pictures, of which only the luma counts."""

    of_picture: float = 1.0

    @property
    def scale(self) -> float:
        return 1.0

    @property
    def share(self) -> float:
        return self.of_picture

    def picture(self, index: int) -> Frame:
        luma = self.proxies[index]
        half = luma[: luma.shape[0] // 2 * 2 : 2, : luma.shape[1] // 2 * 2 : 2]
        return Frame(luma, half, half)


def _grid_box(region: Region) -> Box:
    y, x = np.flatnonzero(region.matte.any(axis=1)), np.flatnonzero(region.matte.any(axis=0))
    return Box(int(x[0]), int(y[0]), int(x[-1]) + 1, int(y[-1]) + 1)


def _cut(lumas: Tail, region: Region, box: Box) -> Tail:
    stands, last = region.matte[box.where] < 0.5, lumas.proxies[-1][box.where]
    cut = [np.where(stands, last, luma[box.where]) for luma in lumas.proxies]
    return _Lumas(lumas.frames, cut, stands.size / region.matte.size)


def _laid(going: Continuation, region: Region, tail: Tail) -> Laid:
    def matte(box: Box, shrink: int) -> Plane:
        shares = stretch(region.matte, (tail.frames.width // shrink, tail.frames.height // shrink))[box.where]
        return np.asarray(shares * np.float32(255) + np.float32(0.5), np.uint8)

    box = region.box(tail)
    return Laid(going, box, (matte(box, 1), matte(box.halved(), 2)))


def _lay(made: Frame, other: Frame, one: Laid) -> None:
    """Mixes `other`, which fills a region's box, into `made`."""
    for channel, (plane, over) in enumerate(zip(made, other, strict=True)):
        below, matte = plane[(one.box.halved() if channel else one.box).where], one.mattes[min(channel, 1)]
        for top in range(0, len(over), _BAND):
            go_on()
            band = slice(top, top + _BAND)
            share = matte[band] * np.float32(1 / 255)
            first, second = np.ascontiguousarray(below[band]), np.ascontiguousarray(over[band])
            below[band] = cv2.blendLinear(first, second, 1 - share, share)
