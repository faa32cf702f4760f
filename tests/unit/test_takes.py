"""Several takes of one new part: the best is kept, the others go, and none that is done is rendered again."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import sqlalchemy as sa

from longtake.errors import OrderError
from longtake.footage import Run
from longtake.local import Made, make
from longtake.media.seams import Seam
from longtake.orders import KeyFrame, Order
from longtake.parts import Rendered
from longtake.records import Changes
from longtake.rendering import seed_of
from longtake.takes import Take, choose, remarks, score
from longtake.timeline import Segment
from tests.footage import store as store_clip
from tests.stage import BACK, CLIP, FREEZE, NUM_GIVEN, NUM_NEW, ON, Dead, Director, Stage, Steps, walking
from tests.wire_rig import Rig, client, serving

PERFECT = Seam(24, 1.0, 1.0, 1.0, 0.0)


def take(jump: float, reversal: float | None = None, seed: int = 0) -> Take:
    joins = (replace(PERFECT, jump=jump),)
    return Take(seed, Rendered(Segment("a", "segments/a.mp4", 0, 1, (0,)), None, None, (), reversal), joins, joins)


class TestScore:
    def test_a_perfect_join_scores_nothing_and_so_does_one_within_the_tolerance(self) -> None:
        assert score([PERFECT], None) == score([], None) == score([replace(PERFECT, jump=1.2)], 0.0) == 0

    @pytest.mark.parametrize(
        "worse",
        [{"jump": 3.0}, {"jump": 0.0}, {"motion": 0.3}, {"motion": 3.0}, {"sharpness": 0.5}, {"colour": 4.0}],
    )
    def test_each_figure_that_is_off_makes_it_worse(self, worse: dict[str, float]) -> None:
        assert score([replace(PERFECT, **worse)], None) > 0.3  # type: ignore[arg-type]

    def test_what_runs_backwards_weighs_more_than_a_visible_jump(self) -> None:
        assert score([PERFECT], 1.0) > score([replace(PERFECT, jump=5.0)], 0.0)
        assert score([PERFECT], 0.1) < score([replace(PERFECT, jump=5.0)], 0.0)

    def test_every_join_counts(self) -> None:
        bad = replace(PERFECT, jump=4.0)
        assert score([bad, bad], None) == pytest.approx(2 * score([bad], None), abs=1e-3)

    def test_the_lowest_score_is_chosen_and_of_equals_the_first(self) -> None:
        assert choose([take(3.0), take(1.0, 0.0), take(1.0, 0.4)]) == 1
        assert choose([take(2.0), take(1.1), take(1.0)]) == 1

    def test_where_nothing_is_joined_the_answer_says_that_the_first_was_kept(self) -> None:
        alone = [replace(take(1.0, seed=seed), joins=()) for seed in (1, 2)]
        assert choose(alone) == 0
        assert remarks(alone) == ("Nothing is joined here by which to rank 2 takes: the first was kept.",)
        assert remarks(alone[:1]) == remarks([take(1.0), take(2.0)]) == ()

    def test_takes_of_the_same_bytes_are_named(self) -> None:
        alike = [
            replace(take(1.0, seed=5 + n), rendered=replace(take(1.0).rendered, sha256=of))
            for n, of in enumerate("aba")
        ]
        assert remarks(alike) == ("Take 3 is the same as take 1: its seed, 7, changes nothing here.",)
        assert remarks(alike[:2]) == ()


def test_the_last_seed_is_followed_by_the_first() -> None:
    assert [seed_of(Order(seed=2**32 - 1), number) for number in range(3)] == [2**32 - 1, 0, 1]


def test_an_order_from_before_there_were_takes_has_one() -> None:
    kept = {name: value for name, value in Order(seed=1).to_json().items() if name != "takes"}
    assert Order.from_json(kept).takes == 1
    assert Order.from_json(Order(takes=3).to_json()).takes == 3


@pytest.mark.parametrize("takes", [0, 5, -1])
def test_more_or_fewer_takes_than_can_be_are_refused_by_their_field(takes: int) -> None:
    with pytest.raises(OrderError, match="takes must be from 1 to 4") as refused:
        Order(takes=takes)
    assert refused.value.field == "takes"


class TestWorker:
    def test_the_best_of_three_is_joined_and_the_others_are_gone(self, tmp_path: Path) -> None:
        stage = Stage(tmp_path, Order(seed=FREEZE, takes=3))
        stage.worker.run(stage.id, 1, 1, Steps())
        assert stage.generation.state == "completed", stage.generation.failure_reason
        result = stage.generation.result
        assert result
        assert result.takes
        assert stage.engine.rendered == [FREEZE, ON, BACK]
        assert [(one["seed"], one["chosen"]) for one in result.takes] == [(FREEZE, False), (ON, True), (BACK, False)]
        scores = [one["score"] for one in result.takes]
        assert min(scores) == scores[1]
        assert result.seams == tuple(result.takes[1]["seams"])
        assert result.segment_key == result.timeline.segments[-1].key == f"segments/{stage.id}/1-1-take2.mp4"
        assert stage.segments() == [result.segment_key]
        assert result.reversal == result.takes[1]["reversal"] is not None

    def test_one_take_has_its_figures_too(self, tmp_path: Path) -> None:
        stage = Stage(tmp_path, Order(seed=ON))
        steps = Steps()
        stage.worker.run(stage.id, 1, 1, steps)
        result = stage.generation.result
        assert result
        assert result.takes
        assert [one["seed"] for one in result.takes] == [ON]
        assert stage.segments() == [f"segments/{stage.id}/1-1.mp4"]
        assert list(steps.kept) == ["bring frame0", "render", "measure", "splice", "poster"]

    @pytest.mark.parametrize("dies_at", ["measure take 2", "render take 3", "drop", "splice"])
    def test_no_take_that_is_done_is_rendered_again_after_a_kill(self, tmp_path: Path, dies_at: str) -> None:
        stage, steps = Stage(tmp_path, Order(seed=FREEZE, takes=3)), Steps()
        steps.dies_at = dies_at
        with pytest.raises(Dead):
            stage.worker.carry_out(Run(stage.id, 1), steps)
        steps.dies_at = ""
        stage.worker.carry_out(Run(stage.id, 1), steps)
        assert stage.engine.rendered == [FREEZE, ON, BACK]
        assert stage.generation.state == "completed"
        assert stage.segments() == [f"segments/{stage.id}/1-1-take2.mp4"]

    def test_a_cancel_in_one_take_leaves_the_next_unrendered(self, tmp_path: Path) -> None:
        stage = Stage(tmp_path, Order(seed=FREEZE, takes=3))

        def cancel(_: int) -> None:
            assert stage.rig.records.fail(stage.id, "cancelled", "cancelled")

        stage.engine.after = cancel
        stage.worker.run(stage.id, 1, 1, Steps())
        assert stage.engine.rendered == [FREEZE]
        assert (stage.generation.state, stage.generation.failure_reason) == ("failed", "cancelled")

    def test_the_answer_names_takes_that_came_out_the_same_even_after_a_kill(self, tmp_path: Path) -> None:
        stage, steps = Stage(tmp_path, Order(seed=FREEZE, takes=3)), Steps()
        stage.engine.plays = {FREEZE: ON, ON: ON, BACK: BACK}
        steps.dies_at = "splice"
        with pytest.raises(Dead):
            stage.worker.carry_out(Run(stage.id, 1), steps)
        steps.dies_at = ""
        stage.worker.carry_out(Run(stage.id, 1), steps)
        result = stage.generation.result
        assert result
        assert result.notes == (f"Take 2 is the same as take 1: its seed, {ON}, changes nothing here.",)

    def test_progress_spans_all_takes_and_never_goes_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stage = Stage(tmp_path, Order(seed=FREEZE, takes=3))
        monkeypatch.setattr(stage.worker, "_report_seconds", 0.0)
        told: list[float] = []
        report = stage.rig.records.report

        def listen(id: str, attempt: int, stage: str, progress: float) -> None:
            told.append(progress)
            report(id, attempt, stage, progress)

        monkeypatch.setattr(stage.rig.records, "report", listen)
        stage.worker.run(stage.id, 1, 1, Steps())
        rendering = [part for part in told if 0.05 < part < 0.95]
        assert told == sorted(told)
        for third in range(3):
            part = [at for at in rendering if 0.05 + 0.3 * third < at <= 0.05 + 0.3 * (third + 1)]
            assert len(part) >= NUM_NEW - 1

    def test_the_event_that_it_has_completed_says_how_much_runs_backwards(self, tmp_path: Path) -> None:
        stage = Stage(tmp_path, Order(seed=ON))
        stage.worker.run(stage.id, 1, 1, Steps())
        *_, last = Changes(stage.rig.records._engine).after(0, generation_id=stage.id)
        result = stage.generation.result
        assert result
        assert (last.type, last.data["reversal"]) == ("generation.completed", result.reversal)


class TestWire:
    def test_takes_are_in_the_order_the_price_and_the_answer(self, tmp_path: Path) -> None:
        rig = Rig.build(tmp_path)
        with serving(rig) as url, client(url) as http:
            one = http.post("/api/generations", json={"seconds": 2}).json()
            many = http.post("/api/generations", json={"seconds": 2, "takes": 3, "seed": 5}).json()
            assert (one["request"]["takes"], one["takes"], one["reversal"]) == (1, None, None)
            assert many["request"]["takes"] == rig.records.get(many["id"]).order.takes == 3
            assert [rig.records.get(made["id"]).credits for made in (one, many)] == [2, 6]

    def test_a_finished_one_shows_its_takes_and_what_came_before_them_shows_none(self, tmp_path: Path) -> None:
        stage = Stage(tmp_path, Order(seed=FREEZE, takes=3))
        stage.worker.run(stage.id, 1, 1, Steps())
        with serving(stage.rig) as url, client(url) as http:
            found = http.get(f"/api/generations/{stage.id}").json()
            assert [one["chosen"] for one in found["takes"]] == [False, True, False]
            assert found["takes"][1]["seams"] == found["seams"]
            assert found["reversal"] == found["takes"][1]["reversal"]
            old = http.post("/api/generations", json={}).json()["id"]
            forget(stage, old)
            found = http.get(f"/api/generations/{old}").json()
            assert (found["state"], found["takes"], found["reversal"]) == ("completed", None, None)

    def test_deleting_one_that_was_stopped_removes_all_its_takes(self, tmp_path: Path) -> None:
        stage, steps = Stage(tmp_path, Order(seed=FREEZE, takes=3)), Steps()
        steps.dies_at = "drop"
        with pytest.raises(Dead):
            stage.worker.carry_out(Run(stage.id, 1), steps)
        assert len(stage.segments()) == 3
        with serving(stage.rig) as url, client(url) as http:
            assert http.delete(f"/api/generations/{stage.id}").status_code == 204
        assert stage.segments() == []


def forget(stage: Stage, id: str) -> None:
    """Completes it with a result as it was kept before there were takes."""
    stage.rig.complete(id)
    result = stage.rig.records.get(id).result
    assert result
    kept = {name: value for name, value in result.to_json().items() if name not in ("takes", "reversal")}
    with stage.rig.records._engine.begin() as connection:
        update = sa.text("update generations set result = :kept where id = :id")
        connection.execute(update, {"kept": json.dumps(kept), "id": id})


def local(folder: Path, takes: int) -> Made:
    footage = walking(NUM_GIVEN + NUM_NEW)
    store_clip(folder, "clip.mp4", footage[:NUM_GIVEN], CLIP)
    order = Order(
        before=KeyFrame(type="video", url=str(folder / "clip.mp4")), seconds=Fraction(1), seed=FREEZE, takes=takes
    )
    return make(order, folder / "out.mp4", Director(footage), max_still_pixels=1, tell=lambda stage, part: None)


def test_without_a_server_the_best_take_is_kept_too(tmp_path: Path) -> None:
    made = local(tmp_path, 2)
    assert (made.best, [take.seed for take in made.takes]) == (1, [FREEZE, ON])
    assert made.seams == made.takes[1].seams
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "out.mp4"]
