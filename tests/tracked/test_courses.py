"""Fig. 3 and Fig. 6 from fabricated runs: which runs a name means, what is drawn of them, what a missing one says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from brule.errors import BruleError
from brule.figures.curves import Curve, Panel, compose
from brule.figures.theme import SERIES
from brule.stages.paper import Request, catalogue, courses
from brule.stages.table import Entry, Ledger
from brule.tracking import past

Track = Callable[..., str]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `comparison` was called with; it draws all the same."""
    calls: list[dict[str, Any]] = []
    real = courses.comparison

    def record(panels: Any, path: Any, heading: str, labels: Any, note: str, columns: int) -> None:
        calls.append({"panels": panels, "heading": heading, "labels": labels, "note": note})
        real(panels, path, heading, labels, note, columns)

    monkeypatch.setattr(courses, "comparison", record)
    return calls


def course(*values: float) -> dict[str, dict[int, float]]:
    return {"validation/nme": {100 * (i + 1): value for i, value in enumerate(values)}}


def test_fig3_draws_the_mean_of_the_seeds_and_their_extremes(
    track: Track, drawn: list[dict[str, Any]], tmp_path: Path
) -> None:
    track("table1-supervised-plain-0", course(9.0, 6.0, 5.0) | {"test/nme": {300: 4.5}})
    track("table1-supervised-plain-1", course(7.0, 5.0) | {"test/nme": {200: 5.5}})
    track("table1-supervised-0", course(99.0))
    track("table1-supervised-0", course(8.0, 4.0) | {"evaluation/validation/images": {200: 202}})  # the newest counts
    track("table1-supervised-plain-0-other", course(1.0))
    out = tmp_path / "fig3.png"
    told = catalogue.draw("fig3", Request(out))
    (call,) = drawn
    plain, regularised = call["panels"][0].curves.values()
    assert plain.steps.tolist() == [100, 200], "steps that every seed has"
    assert (plain.mean.tolist(), plain.low.tolist(), plain.high.tolist()) == ([8.0, 5.5], [7.0, 5.0], [9.0, 6.0])
    assert regularised.mean.tolist() == [8.0, 4.0]
    orange, blue = call["labels"]
    assert call["labels"] == {orange: 1, blue: 0}
    assert "(orange) (2 runs) · test 5.00 %" in orange and blue.endswith("(blue) (1 run)")
    assert "202 validation images" in call["note"]
    assert len(told) == 2 and told[0].count("table1-supervised-plain-") == 2
    assert Image.open(out).size[0] == 1350


def test_fig6_has_four_panels_and_names_what_it_lacks(
    track: Track, drawn: list[dict[str, Any]], tmp_path: Path
) -> None:
    floor = {"evaluation/validation/floor_nme": {200: 18.0}}
    track("table1-short-0", course(9.0, 6.0) | floor | {"encoder/R_g": {10: 3.0, 20: 2.0}})
    track("300w-no-barycenter", course(19.0, 20.0))  # the row's experiment, run by itself
    track("table1-no-geometry-0", course(9.0, 8.0) | {"encoder/R_b": {10: 0.5}, "encoder/R_g": {10: 4.0, 20: 4.5}})
    track("table1-no-modes-0", course(7.0, 6.5))
    told = catalogue.draw("fig6", Request(tmp_path / "fig6.png"))
    error, cycle, barycenter, geometry = drawn[0]["panels"]
    assert error.floor == 18.0 and len(error.curves) == 4 and len(drawn[0]["labels"]) == 4
    assert not cycle.curves and len(barycenter.curves) == 1 and len(geometry.curves) == 2
    assert told[-1] == "not in MLflow yet: no-teacher, no-view, no-prior, no-settling, paper-proportions"
    drawn.clear()
    catalogue.draw("fig6", Request(tmp_path / "own.png", ("no-modes", "300w-no-barycenter")))
    assert len(drawn[0]["panels"][0].curves) == 2 and drawn[0]["panels"][0].floor is None


def test_a_name_is_a_row_an_experiment_a_run_or_an_id(track: Track) -> None:
    id = track("mine", course(1.0))
    track("table1-labels-10-0", course(2.0))
    track("300w-few-labels", course(3.0))
    finished, known = past.read().finished(), courses.rows()
    for name, first in {"mine": 1.0, id: 1.0, "labels-10": 2.0, "300w-few-labels": 3.0}.items():
        found = courses.find(finished, name, known)
        assert found is not None and [run.metrics["validation/nme"] for run in found.runs] == [first]
    assert courses.find(finished, "labels-50", known) is None, "its experiment alone does not say which labels"
    track("no-barycenter", course(4.0))  # an experiment on rendered faces, which has the name of a row on real ones
    assert courses.find(past.read().finished(), "no-barycenter", known) is None


def test_a_row_is_drawn_from_the_runs_that_its_numbers_are_from(track: Track) -> None:
    id = track("somebody-s", course(1.0))
    track("table1-short-0", course(2.0))
    facts: dict[str, Any] = {"row": "short", "run": 0, "version": 0, "parameters": {}, "source": "300w", "weights": "w"}
    facts |= {"test": {}, "validation": {}, "seconds": 1.0, "threads": 1, "experiment": "e", "finished": 1.0}
    measured = Entry(mlflow_run_id=id, **facts)
    Ledger(Path(), courses.TABLE).keep(measured)
    found = courses.find(past.read().finished(), "short", courses.rows())
    assert found is not None and [run.id for run in found.runs] == [id]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ((), r'no finished run of supervised-plain; make it: make table1 LOCATION=\S+ FLAGS="--rows supervised-plain"'),
        (("collapse",), r"no finished run of collapse; make it: python pipelines/experiment\.py collapse"),
        (("nonsense",), r"no finished run of nonsense; give --runs a row of experiments/tables/table1\.yaml"),
    ],
)
def test_a_missing_run_says_how_to_make_it(store: Path, names: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(BruleError, match=sentence):
        catalogue.draw("fig3", Request(store.parent / "x.png", names))
    assert not (store.parent / "x.png").exists()


def test_a_run_without_an_error_is_named(track: Track, tmp_path: Path) -> None:
    id = track("blind", {"encoder/R_g": {1: 1.0}})
    with pytest.raises(BruleError, match=rf"run {id} \(blind\): has no validation/nme"):
        catalogue.draw("fig3", Request(tmp_path / "x.png", ("blind",)))


def test_a_label_has_one_colour_in_every_panel() -> None:
    steps, ones = np.arange(1, 4), np.ones(3)
    one, other = (Curve(steps, height * ones, height * ones, (height + spread) * ones) for height, spread in
                  ((5.0, 1.0), (7.0, 0.0)))  # fmt: skip
    labels = {"a": 1, "b": 7}
    figure = Figure(figsize=(9, 6))
    panels = [
        Panel("error", {"a": one, "b": other}, floor=18.0, error=True),
        Panel("R_b", {"b": other}),
        Panel("R_g", {}),
    ]
    compose(figure, panels, "heading", labels, "note", columns=2)
    error, barycenter, empty = figure.axes
    assert [line.get_color() for line in error.lines] == [SERIES[1], SERIES[1], "#1f2933"]
    assert barycenter.lines[0].get_linestyle() == error.lines[1].get_linestyle() != error.lines[0].get_linestyle()
    assert len(error.collections) == 1, "a band where seeds differ, and there alone"
    assert not empty.lines and empty.texts[0].get_text() == "in none of these runs"
    falling = Curve(steps, *[np.array([50.0, 1.0, 0.9])] * 3)
    compose(again := Figure(), [Panel("x", {"a": falling}, error=True), Panel("x", {"a": falling})], "", labels, "", 2)
    assert again.axes[0].get_ylim()[1] < 2, "an error's start is cut off"
    assert again.axes[1].get_yscale() == "log" and again.axes[1].get_ylim()[1] > 50, "a loss's is not"
    low, high = error.get_ylim()
    assert low < 5.0 and high > 18.0, "the floor and the curves are in sight"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["the barycenter everywhere: 18.00 %", "a", "b"]
