"""The command line as its user meets it: another process, files in, a file out, nothing left behind."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from longtake.engines.motion import Motion
from longtake.errors import CallerError
from longtake.local import make
from longtake.media.probe import probe
from longtake.orders import KeyFrame, Order
from longtake.video import VideoFormat
from tests.footage import bring_home_start, frame_hashes, moving, store
from tests.servers import KEY

FIRST, SECOND, PHOTO = "first.mp4", "second.mp4", "photo.png"
HELP_CPU_SECONDS = 0.2


def longtake(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs `longtake` in a folder, with pipes for its output."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("LONGTAKE_")}
    return subprocess.run(
        [sys.executable, "-m", "longtake", *arguments],
        cwd=folder,
        env={**plain, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def made(folder: Path, *arguments: str) -> str:
    """Runs `longtake`, which succeeds and shows no progress bar: what it printed."""
    done = longtake(folder, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.stdout), done.stdout
    return done.stdout


def refused(folder: Path, *arguments: str, **variables: str) -> str:
    """Runs `longtake`, which refuses in one sentence and leaves the folder as it was: the sentence."""
    before = contents(folder)
    done = longtake(folder, *arguments, **variables)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    sentences = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(sentences) == 1, done.stderr
    assert done.stderr.splitlines()[-1] == sentences[0]
    assert contents(folder) == before
    return sentences[0]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two videos of 24 frames, 64x48 at 6 fps, and a photo."""
    store(tmp_path, FIRST, moving(24, seed=1))
    store(tmp_path, SECOND, moving(24, seed=2))
    coarse = np.random.default_rng(3).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / PHOTO), cv2.resize(coarse, (320, 180), interpolation=cv2.INTER_CUBIC))
    return tmp_path


def hashes(path: Path) -> list[str]:
    return frame_hashes(path)[0]


def test_extend_goes_on_after_the_end_and_prints_its_figures(folder: Path) -> None:
    figures = json.loads(made(folder, "extend", FIRST, "-o", "longer.mp4", "--seconds", "2", "--json"))
    longer = hashes(folder / "longer.mp4")
    assert longer[:24] == hashes(folder / FIRST)
    assert len(longer) == 24 + 12
    assert figures["file"] == "longer.mp4"
    assert figures["format"] == "64x48 at 6 fps"
    assert figures["seconds"] == 6
    assert figures["new"]["start"] == 4
    assert figures["new"]["seconds"] == 2
    assert figures["bytes"] == (folder / "longer.mp4").stat().st_size
    assert [seam["frame"] for seam in figures["seams"]] == [24]
    assert {"jump", "motion", "sharpness", "colour"} <= set(figures["seams"][0])
    assert isinstance(figures["notes"], list)
    assert 0 <= figures["reversal"] <= 1
    assert [(take["seed"], take["chosen"], take["seams"][0]["frame"]) for take in figures["takes"]] == [(0, True, 24)]
    assert sorted(path.name for path in folder.iterdir()) == [FIRST, "longer.mp4", PHOTO, SECOND]


def test_extend_before_leads_up_to_the_start(folder: Path) -> None:
    printed = made(folder, "extend", FIRST, "-o", "longer.mp4", "--before", "--seconds", "1", "--from", PHOTO)
    longer = hashes(folder / "longer.mp4")
    assert longer[6:] == hashes(folder / FIRST)
    assert len(longer) == 6 + 24
    assert printed.startswith("longer.mp4  64x48 at 6 fps, 5.00 s")
    assert "seam at 1.00 s" in printed


def test_extend_at_a_time_keeps_what_is_before_it(folder: Path) -> None:
    made(folder, "extend", FIRST, "-o", "longer.mp4", "--at", "2.5", "--seconds", "1", "--to", PHOTO)
    assert hashes(folder / "longer.mp4")[:15] == hashes(folder / FIRST)[:15]
    assert len(hashes(folder / "longer.mp4")) == 15 + 6


def test_of_several_takes_the_best_is_kept_and_is_what_its_seed_makes_alone(folder: Path) -> None:
    printed = made(folder, "extend", FIRST, "-o", "best.mp4", "--seconds", "1", "--seed", "3", "--takes", "2")
    kept = re.search(r"kept the take of seed (\d); scores, lower is better: seed 3: (\S+), seed 4: (\S+)", printed)
    assert kept, printed
    assert kept[1] == ("3" if float(kept[2]) <= float(kept[3]) else "4")
    assert re.search(r"runs backwards: \d+ % of what moves in the new part", printed)
    order = Order(before=KeyFrame(type="video", url=str(folder / FIRST)), seconds=Fraction(1), seed=int(kept[1]))
    make(order, folder / "alone.mp4", Motion(), max_still_pixels=10**6, tell=lambda stage, part: None)
    assert (folder / "alone.mp4").read_bytes() == (folder / "best.mp4").read_bytes()


def test_takes_of_a_moving_image_have_no_join_to_be_ranked_by(folder: Path) -> None:
    image = KeyFrame(type="image", url=str(folder / PHOTO))
    order = Order(before=image, seconds=Fraction(1, 2), seed=1, takes=2, short_side=64, frame_rate=Fraction(8))
    figures = make(order, folder / "x.mp4", Motion(), max_still_pixels=10**6, tell=lambda stage, part: None)
    assert (figures.best, [take.joins for take in figures.takes]) == (0, [(), ()])
    assert figures.takes[0].rendered.reversal is None
    assert any("the first was kept" in note for note in figures.notes)


def test_bridge_joins_two_and_keeps_both(folder: Path) -> None:
    figures = json.loads(made(folder, "bridge", FIRST, SECOND, "-o", "both.mp4", "--seconds", "1", "--json"))
    both = hashes(folder / "both.mp4")
    assert both[:24] == hashes(folder / FIRST)
    assert both[30:] == hashes(folder / SECOND)
    assert [seam["frame"] for seam in figures["seams"]] == [24, 30]


def test_a_real_clip_is_extended_with_its_frames_untouched(clips: Path, tmp_path: Path) -> None:
    bring_home_start(clips / "intel_car-detection.mp4", 1.0, tmp_path)
    source = tmp_path / "intel_car-detection.mp4"
    before = source.read_bytes()
    made(tmp_path, "extend", source.name, "-o", "longer.mp4", "--seconds", "0.4")
    longer, was = hashes(tmp_path / "longer.mp4"), hashes(source)
    assert longer[: len(was)] == was
    assert len(longer) == len(was) + 5
    assert source.read_bytes() == before


def test_animate_starts_on_the_image_in_the_size_asked_for(folder: Path) -> None:
    size = ("--resolution", "540p", "--aspect", "1:1", "--fps", "8")
    made(folder, "animate", PHOTO, "-o", "moving.mp4", "--seconds", "0.5", "--concept", "zoom_in", *size)
    assert frame_hashes(folder / "moving.mp4")[1] == Fraction(1, 8)
    with av.open(str(folder / "moving.mp4")) as container:
        frames = list(container.decode(video=0))
    assert [(frame.width, frame.height) for frame in frames] == [(540, 540)] * 4


def test_generate_says_that_it_is_a_preview_and_the_seed_decides(folder: Path) -> None:
    small = ("--seconds", "0.25", "--resolution", "540p", "--fps", "8")
    for name, seed in (("one.mp4", "5"), ("two.mp4", "5"), ("three.mp4", "6")):
        assert "preview" in made(folder, "generate", "a red boat at sea", "-o", name, *small, "--seed", seed)
    assert (folder / "one.mp4").read_bytes() == (folder / "two.mp4").read_bytes()
    assert (folder / "one.mp4").read_bytes() != (folder / "three.mp4").read_bytes()


def test_an_existing_file_is_written_over_only_when_told_to(folder: Path) -> None:
    assert "--force" in refused(folder, "extend", FIRST, "-o", SECOND, "--seconds", "1")
    made(folder, "extend", FIRST, "-o", SECOND, "--seconds", "1", "--force")
    assert hashes(folder / SECOND)[:24] == hashes(folder / FIRST)


def test_a_file_that_comes_to_be_meanwhile_is_left_as_it_is(folder: Path) -> None:
    out, frame = folder / "longer.mp4", KeyFrame(type="video", url=str(folder / FIRST))
    order = Order(before=frame, seconds=Fraction(1), seed=0)

    def tell(stage: str, _part: float) -> None:
        if stage == "joining":
            out.write_bytes(b"another's")

    with pytest.raises(CallerError, match="exists"):
        make(order, out, Motion(), max_still_pixels=10**6, tell=tell)
    assert out.read_bytes() == b"another's"
    make(order, out, Motion(), max_still_pixels=10**6, tell=tell, force=True)
    assert hashes(out)[:24] == hashes(folder / FIRST)
    assert sorted(path.name for path in folder.iterdir()) == [FIRST, "longer.mp4", PHOTO, SECOND]


def test_a_run_that_is_told_to_stop_leaves_nothing_behind(folder: Path) -> None:
    before = contents(folder)
    command = [sys.executable, "-m", "longtake", "generate", "a boat", "-o", "x.mp4", "--seconds", "600"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        while not any(folder.glob(".longtake-*/*")):
            assert process.poll() is None
        process.terminate()
        _, log = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert log == ""
    assert contents(folder) == before
    assert not any(folder.glob(".longtake-*"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["extend", "nothing.mp4", "-o", "x.mp4"], "there is no file nothing.mp4"),
        (["extend", PHOTO, "-o", "x.mp4"], f"{PHOTO}: "),
        (["extend", "cut.mp4", "-o", "x.mp4"], "cut.mp4: "),
        (["extend", "page.html", "-o", "x.mp4"], "page.html: "),
        (["animate", FIRST, "-o", "x.mp4"], f"{FIRST}: "),
        (["extend", FIRST, "-o", "no-folder/x.mp4"], "there is no folder"),
        (["extend", FIRST, "-o", "x.mp4", "--seconds", "0"], "duration must be"),
        (["extend", FIRST, "-o", "x.mp4", "--seconds", "nan"], "seconds"),
        (["extend", FIRST, "-o", "x.mp4", "--takes", "5"], "'--takes'"),
        (["extend", FIRST, "-o", "x.mp4", "--at", "99"], "at must be from"),
        (["extend", FIRST, "-o", "x.mp4", "--at", "nan"], "--at"),
        (["extend", FIRST, "-o", "x.mp4", "--concept", "no_such_move"], "no_such_move"),
        (["extend", FIRST, "-o", "x.mp4", "--to", PHOTO, "--loop"], "loop"),
        (["bridge", FIRST, "other.mp4", "-o", "x.mp4"], "their shapes differ (4:3 and 3:2)"),
        (["generate", "a boat", "-o", "x.mp4", "--fps", "nan"], "--fps"),
        (["generate", "a boat", "-o", "x.mp4", "--fps", "1e300"], "fps must be from 1 to 120"),
        (["generate", "a boat", "-o", "x.mp4", "--resolution", "99p"], "resolution must be one of"),
        (["keys", "list", "--data", "no-folder"], "there is no data folder"),
        (["serve", "--data", FIRST], "data"),
        (["prolong"], "prolong"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(arguments: list[str], says: str, folder: Path) -> None:
    (folder / "page.html").write_text("<!doctype html><p>no video</p>")
    (folder / "cut.mp4").write_bytes((folder / FIRST).read_bytes()[:700])
    store(folder, "other.mp4", moving(12, 96, 64), VideoFormat(96, 64, Fraction(6)))
    assert says in refused(folder, *arguments)


def test_an_unknown_variable_is_an_error(folder: Path) -> None:
    sentence = refused(folder, "extend", FIRST, "-o", "x.mp4", LONGTAKE_PROT="8000")
    assert "LONGTAKE_PROT" in sentence
    assert "LONGTAKE_PORT" in sentence
    assert "LONGTAKE_PORT" in refused(folder, "keys", "list", LONGTAKE_PORT="many")


def test_help_is_there_at_once(tmp_path: Path) -> None:
    used = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        printed = made(tmp_path, "--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert "longtake extend holiday.mp4 -o longer.mp4" in printed
    assert min(used) < HELP_CPU_SECONDS, used


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    here = ("--data", "data")
    secret = made(tmp_path, "keys", "create", *here, "--name", "for tests", "--credits", "12").strip()
    assert re.fullmatch(r"lt-\S{40,}", secret)
    listed = made(tmp_path, "keys", "list", *here)
    id = listed.split()[0]
    assert "active" in listed
    assert "12 credits" in listed
    assert "for tests" in listed
    assert secret not in listed
    assert all(secret.encode() not in data for data in contents(tmp_path).values())
    assert made(tmp_path, "keys", "revoke", *here, id).strip() == f"{id} is revoked"
    assert "revoked" in made(tmp_path, "keys", "list", *here)
    assert id in longtake(tmp_path, "keys", "revoke", *here, id).stderr


def test_settings_lists_what_may_be_set_without_secrets(tmp_path: Path) -> None:
    done = longtake(tmp_path, "settings", LONGTAKE_API_KEY=KEY)
    assert "LONGTAKE_PORT  [default: 8000]" in done.stdout
    assert KEY not in done.stdout


def test_what_is_extended_is_never_written_over(folder: Path) -> None:
    before = (folder / FIRST).read_bytes()
    assert "is what is to be extended" in refused(folder, "extend", FIRST, "-o", FIRST, "--seconds", "1", "--force")
    assert (folder / FIRST).read_bytes() == before


def test_a_name_that_promises_another_container_is_refused(folder: Path) -> None:
    assert "must end in .mp4" in refused(folder, "extend", FIRST, "-o", "x.mkv", "--seconds", "1")


def test_an_image_keeps_its_own_shape(folder: Path) -> None:
    Image.new("RGB", (300, 400), (90, 120, 60)).save(folder / "tall.png")
    made(folder, "animate", "tall.png", "-o", "tall.mp4", "--seconds", "0.5", "--resolution", "540p", "--fps", "8")
    format = probe(folder / "tall.mp4").format
    assert (format.width, format.height) == (540, 720)


@pytest.mark.parametrize(("name", "codec"), [("x.webm", "vp9"), ("x.gif", "gif")])
def test_what_is_made_can_be_another_kind_of_file(name: str, codec: str, tmp_path: Path) -> None:
    made(tmp_path, "generate", "the sea", "-o", name, "--seconds", "0.5")
    with av.open(str(tmp_path / name)) as container:
        assert container.streams.video[0].codec_context.name in {codec, f"lib{codec}"}
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_gif_of_more_than_a_minute_is_refused_before_anything_is_rendered(tmp_path: Path) -> None:
    assert "60 s" in refused(tmp_path, "generate", "the sea", "-o", "x.gif", "--seconds", "61")


@pytest.mark.parametrize("engines", ["", "motion,"])
def test_an_engine_without_a_name_is_a_usage_error(engines: str, tmp_path: Path) -> None:
    assert "an engine's name is empty" in longtake(tmp_path, "worker", "--engines", engines).stderr
    assert not contents(tmp_path)
