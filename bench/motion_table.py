"""The benchmark's tables: the prototype's figures, the targets, ours, the truth's and each baseline's, side by side."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from bench.motion_between import GAPS, Between, BetweenSpeed
from bench.motion_extend import METHODS, OURS, PSNR_SECONDS, ClipResult, Continued
from bench.motion_still import StillResult

Figure = Callable[[list[Continued]], str]
NONE = "–"


def shares(values: Iterable[bool]) -> str:
    counted = list(values)
    return f"{100 * sum(counted) / len(counted):.0f} %" if counted else NONE


def percentile(values: Sequence[float], share: int) -> float:
    return float(np.percentile(values, share))


def over_freeze(seconds: float) -> Figure:
    """The mean; nothing for the truth, which has no error to speak of."""

    def figure(found: list[Continued]) -> str:
        values = [f.over_freeze[seconds] for f in found if seconds in f.over_freeze]
        return f"{statistics.mean(values):+.1f} dB" if values else NONE

    return figure


def _velocity(found: list[Continued]) -> str:
    breaks = [f.velocity_break for f in found]
    return f"{statistics.median(breaks):.2f}, {percentile(breaks, 90):.2f}"


EXTENSION_ROWS: list[tuple[str, str, str, Figure]] = [
    (
        "seam jump ratio within 0.5 to 2",
        "11 of 20 (truth 9)",
        "as often as the truth",
        lambda found: f"{sum(0.5 <= f.jump <= 2 for f in found)} of {len(found)}",
    ),
    ("velocity break: median, p90", "1.39, 2.83", "≤ 1.3, ≤ 2.0", _velocity),
    (
        "seconds with motion energy ≥ 0.5 of the tail's",
        "85 %",
        "95 %",
        lambda found: shares(e >= 0.5 for f in found for e in f.energy),
    ),
    (
        "seconds with sharpness ≥ 0.85 of the tail's",
        "84 %",
        "95 %",
        lambda found: shares(s >= 0.85 for f in found for s in f.sharpness),
    ),
    (
        "lowest sharpness in the first half second, p10",
        "0.69",
        "0.85",
        lambda found: f"{percentile([f.lowest_sharpness for f in found], 10):.2f}",
    ),
    (
        "longest near-stop, p90",
        "0.36 s",
        "0.15 s",
        lambda found: f"{percentile([f.stop_seconds for f in found], 90):.2f} s",
    ),
    *(
        (f"PSNR over a freeze at {at:g} s", proto, goal, over_freeze(at))
        for at, proto, goal in zip(PSNR_SECONDS, ("−0.3 dB", "−0.8 dB", "−1.7 dB"), ("≥ 0 dB", NONE, NONE), strict=True)
    ),
]
STATIC_ROWS: list[tuple[str, str, str, Figure]] = [
    ("static camera: PSNR over a freeze at 0.5 s", NONE, NONE, over_freeze(0.5)),
    (
        "static camera: moving area running backwards, 9 s",
        "about half",
        "≤ 10 %",
        lambda found: f"{100 * statistics.mean(f.reversal for f in found):.0f} %" if found else NONE,
    ),
]
LAYERED_ROWS: list[tuple[str, str, str, Figure]] = [
    ("taken in layers: PSNR over a freeze at 0.5 s", NONE, "≥ +1 dB", over_freeze(0.5)),
    ("taken in layers: PSNR over a freeze at 1 s", NONE, NONE, over_freeze(1.0)),
]
ALL_ROWS: list[tuple[str, str, str, Figure]] = [
    (
        "all clips: moving area running backwards, 9 s",
        NONE,
        NONE,
        lambda found: f"{100 * statistics.mean(f.reversal for f in found):.0f} %",
    ),
    (
        "all clips: repetition, 9 s",
        NONE,
        "down",
        lambda found: f"{statistics.mean(f.repetition for f in found):.2f}",
    ),
]


def extension_table(results: list[ClipResult]) -> Iterator[str]:
    static = [result for result in results if result.static]
    layered = [result for result in results if any("layer" in remark for remark in result.remarks)]
    yield f"## Append, 5 s, {len(results)} clips ({len(static)} with a static camera)\n"
    yield _row(["", "prototype, unseen clips", "to reach", *METHODS])
    yield _row(["---"] * (3 + len(METHODS)))
    groups = (EXTENSION_ROWS, results), (STATIC_ROWS, static), (LAYERED_ROWS, layered), (ALL_ROWS, results)
    for rows, clips in groups:
        for name, prototype, target, figure in rows:
            yield _row([name, prototype, target, *(figure([clip.methods[m] for clip in clips]) for m in METHODS)])


def clip_table(results: list[ClipResult]) -> Iterator[str]:
    """Ours, clip by clip, with the truth's in brackets where it says what is natural."""
    yield "\n## Ours, clip by clip (the true continuation's in brackets)\n"
    heads = ["jump", "velocity break", "energy by second", "sharpness by second", "lowest", "near-stop"]
    yield _row(["clip", *heads, "PSNR over freeze .25/.5/1", "backwards", "repetition", "said"])
    yield _row(["---"] * (len(heads) + 5))
    for clip in results:
        ours, truth = clip.methods[OURS], clip.methods["truth"]
        yield _row(
            [
                f"{clip.name}{' (static)' if clip.static else ''}",
                f"{ours.jump:.2f} ({truth.jump:.2f})",
                f"{ours.velocity_break:.2f} ({truth.velocity_break:.2f})",
                f"{_list(ours.energy)} ({_list(truth.energy)})",
                f"{_list(ours.sharpness)} ({_list(truth.sharpness)})",
                f"{ours.lowest_sharpness:.2f} ({truth.lowest_sharpness:.2f})",
                f"{ours.stop_seconds:.2f} ({truth.stop_seconds:.2f})",
                " ".join(f"{value:+.1f}" for value in ours.over_freeze.values()),
                f"{100 * ours.reversal:.0f} % ({100 * truth.reversal:.0f} %)",
                f"{ours.repetition:.2f} ({truth.repetition:.2f})",
                " ".join(clip.remarks).split(":")[0],
            ]
        )


def between_table(results: list[Between], speed: BetweenSpeed) -> Iterator[str]:
    yield "\n## In-betweens: the middle frame, over minterpolate (best settings)\n"
    yield _row(
        [
            "gap",
            "prototype",
            "to reach",
            "ours",
            "clips won",
            "sharpness: ours, minterpolate, cross-fade",
            "dB",
            "dissolved",
        ]
    )
    yield _row(["---"] * 8)
    for gap, proto in zip(GAPS, ("+0.4", "+0.4", "+0.1"), strict=True):
        found = [result for result in results if result.gap == gap]
        if not found:
            continue
        gains = [result.psnr["ours"] - result.psnr["minterpolate"] for result in found]
        sharp, decibels = (
            {m: statistics.mean(getattr(result, kind)[m] for result in found) for m in found[0].psnr}
            for kind in ("sharpness", "psnr")
        )
        won = f"{sum(gain > 0 for gain in gains)} of {len(gains)}"
        cells = [f"{statistics.mean(gains):+.1f} dB", won, _values(sharp, ".2f"), _values(decibels, ".1f")]
        cells.append(f"{100 * statistics.mean(result.dissolved for result in found):.0f} % of pairs")
        yield _row([str(gap), f"{proto} dB; half; 0.83", "+0.5 dB; two thirds; 0.85", *cells])
    worst = sorted(results, key=lambda r: r.psnr["ours"] - r.psnr["minterpolate"])
    yield "\nBy clip and gap (dB over minterpolate, share dissolved), lost most first: " + ", ".join(
        f"{r.clip} {r.gap} ({r.psnr['ours'] - r.psnr['minterpolate']:+.1f}, {100 * r.dissolved:.0f} %)" for r in worst
    )
    ratio = speed.ours / speed.minterpolate
    yield (
        f"\nSpeed at 720p, encoding included: ours {speed.ours:.1f}, minterpolate {speed.minterpolate:.1f} frames/s: "
        f"{ratio:.1f} × (prototype 5.2 ×, to reach ≥ 8 ×)"
    )


def cost_table(costs: dict[str, dict[str, float]], stills: dict[str, StillResult]) -> Iterator[str]:
    yield "\n## What it costs (a process of its own: decoding, rendering, encoding, joining)\n"
    yield _row(
        ["append of 5 s", "total ÷ encode-only", "frames/s", "peak memory", "seconds: render, join, measure, encode"]
    )
    yield _row(["---"] * 5)
    yield _row(["prototype, 720p", "2.2 ×", "45 to 87", "950 MB", NONE])
    yield _row(["to reach", "≤ 1.5 ×", "≥ 70 at 720p, ≥ 30 at 1080p", "≤ 450 MB", NONE])
    for name, cost in costs.items():
        ratio, rate = cost["total"] / cost["encode_alone"], cost["frames"] / cost["total"]
        spent = _values({part: cost[part] for part in ("render", "join", "measure", "encode_alone")}, ".2f")
        yield _row([name, f"{ratio:.2f} ×", f"{rate:.0f}", f"{cost['peak_memory']:.0f} MB", spent])
    yield "\n## A picture moves (720p, 3 s)\n"
    yield _row(["", "frames/s with encoding", "jerk, pixels at 640 wide", "end sharpness", "first frame"])
    yield _row(["---"] * 5)
    for name, found in stills.items():
        cells = [f"{found.frames_a_second:.0f}", f"{found.jerk:.3f}", f"{found.sharpness:.2f}"]
        yield _row([name, *cells, f"{found.first_frame:.1f} dB"])


def _values(found: dict[str, float], form: str) -> str:
    return ", ".join(format(value, form) for value in found.values())


def _list(values: list[float]) -> str:
    return " ".join(f"{value:.2f}".removeprefix("0") for value in values)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
