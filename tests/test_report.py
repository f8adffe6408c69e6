"""The page of a run: its numbers are the run's, it needs nothing but itself, and no name can break it."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import nn

from brule import config
from brule.data.schemes import IBUG68, Scheme
from brule.detector.model import Detector
from brule.errors import BruleError
from brule.maths import monitors
from brule.stages.gan_scores import UNMEASURED_SAMPLES
from brule.stages.report import LARGE, PICTURES, Findings, gather, page
from brule.stages.scores import UNMEASURED

ROOT = Path(__file__).parents[1]
SENTENCE = "the run collapsed: spread fired at iteration 60 and stands at the end; look at loss.c5"
HEALTHY = {"nearest": 0.12, "residual": 0.1}
HOSTILE = "<script>alert('x')</script>\"><img src=//evil onerror=x>&amp;`"


class Page(HTMLParser):
    """What a browser would see: text, rows of tables, attributes. Fails on tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("meta", "img"):
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)
        if {"th", "td"} & set(self.open):
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def row(self, first: str) -> list[str]:
        """The first row whose first cell is that."""
        return next(row for row in self.rows if row[0] == first)

    def classes(self) -> list[str]:
        return [str(attributes["class"]) for _, attributes in self.tags if "class" in attributes]


def png(width: int = 40, height: int = 30, noise: bool = False) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256 if noise else 1, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def scores(seed: int, images: int) -> dict[str, Any]:
    numbers = np.random.default_rng(seed).uniform(2, 30, 20).tolist()
    split = {name: numbers.pop() for name, value in UNMEASURED.items() if value is None}
    shares = {name: numbers.pop() / 30 for name in ("auc_08", "failure_08", "failure_10")}
    return split | shares | {"images": images, "parts": {name: numbers.pop() for name in ("jaw", "nose")}}


def run(**changes: Any) -> Findings:
    report: dict[str, Any] = {
        "test": scores(1, 517),
        "validation": scores(2, 263),
        "monitors": {"spread": 0.987, "nearest": 0.123, "agreement": 0.99, "entropy": 3.21},
        "alarms": [],
        "images_per_second": 812.5,
        "samples": {"nme": 6.61, "nme_floor": 26.52, "drift": 5.53, "diversity": 0.74, "shapes": 209}
        | {"frechet": 152.51, "frechet_floor": 5.08, "frechet_images": 417},
    }
    training = {"mode": "unsupervised", "fingerprint": "abc123"}
    whole = Findings(
        Detector(nn.Linear(7, 3), np.zeros((68, 2), np.float32), IBUG68, 64, 32, training),
        report,
        {"best_iteration": 2600, "mlflow_run_id": "f" * 32, "seconds": 312.4, "threads": 2, "precision": "bfloat16"},
        {"source": "synthetic", "licence": "MIT (rendered)", "counts": {"train": 3001}, "extra": None},
        config.flatten(config.read(ROOT / "params.yaml")),
        monitors.bounds(HEALTHY),
        f"http://127.0.0.1:5000/#/experiments/1/runs/{'f' * 32}",
        dict.fromkeys((*PICTURES, "training"), png()),
    )
    return replace(whole, **{"report": report | changes.pop("report", {})}, **changes)


def trained(**changes: Any) -> dict[str, Any]:
    return {**run().trained, **changes}


def blind() -> Findings:
    """No image has landmarks, and none is held out."""
    bare = {"test": UNMEASURED, "validation": UNMEASURED, "monitors": {}, "images_per_second": None}
    return run(report=bare, trained={}, manifest={}, pictures={})


def collapsed() -> Findings:
    alarms = [SENTENCE, "spread is 0.4, below 0.7: the predicted shapes have shrunk; look at loss.c5"]
    report = {"alarms": alarms, "monitors": {"spread": 0.4, "nearest": float("inf"), "entropy": 3.2}}
    return run(report=report, trained=trained(collapsed={"iteration": 60, "sentence": SENTENCE}))


def tuned() -> Findings:
    found = {"trials": 37, "first": 5.625, "best": 5.125, "coefficients": {"c5": 17.25, "c7": 12345.0}}
    return run(trained=trained(tuned=found))


def without_a_gan() -> Findings:
    pictures = {name: data for name, data in run().pictures.items() if name != "samples"}
    return run(report={"samples": UNMEASURED_SAMPLES}, pictures=pictures)


def hostile() -> Findings:
    scheme = Scheme((HOSTILE, "b", "c"), None, (0, 1))
    detector = replace(run().detector, scheme=scheme, training={"mode": HOSTILE, "initial": HOSTILE})
    return run(
        report={"alarms": [HOSTILE], "test": scores(1, 5) | {"parts": {HOSTILE: 1.0}}},
        trained=trained(mlflow_run_id=HOSTILE, fingerprint=HOSTILE, collapsed={"sentence": HOSTILE}, precision=HOSTILE),
        manifest={"source": HOSTILE, "licence": HOSTILE, "labelled": HOSTILE, "counts": {HOSTILE: HOSTILE},
                  "extra": {"source": HOSTILE, "use": "join", "licence": HOSTILE}},
        parameters={"data.location": HOSTILE, HOSTILE: [HOSTILE]},
        detector=detector,
    )  # fmt: skip


KINDS = {kind.__name__: kind for kind in (run, blind, collapsed, tuned, without_a_gan, hostile)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_page_is_well_formed_and_needs_nothing_but_itself(kind: str) -> None:
    subject = KINDS[kind]()
    text, elsewhere = page(subject), str(subject.address)  # a link for a click: it loads nothing
    seen = Page(text)
    assert text == page(KINDS[kind]()), "the same run gives the same bytes"
    assert text.startswith("<!doctype html>") and not {tag for tag, _ in seen.tags} & {"script", "link", "iframe"}
    assert any("default-src 'none'" in str(attributes.get("content")) for tag, attributes in seen.tags if tag == "meta")
    assert "@import" not in text and "url(" not in text and not re.search(r"https?://", text.replace(elsewhere, ""))
    for tag, attributes in seen.tags:
        assert not [name for name in attributes if name.startswith("on")], "no script hides in an attribute"
        assert "src" not in attributes or str(attributes["src"]).startswith("data:image/")
        assert "href" not in attributes or (tag == "a" and str(attributes["href"]).startswith(("#", elsewhere)))
    places = {attributes["id"] for tag, attributes in seen.tags if tag == "section"}
    links = {str(attributes["href"]) for tag, attributes in seen.tags if tag == "a"}
    assert links - {elsewhere} == {f"#{place}" for place in places}
    assert all(attributes["alt"] for tag, attributes in seen.tags if tag == "img")
    assert "None" not in seen.text and " nan" not in seen.text


def test_the_table_of_errors_is_that_of_metrics_json() -> None:
    report = run().report
    seen = Page(page(run()))
    names = ["detector", "floor: barycenter everywhere"]
    for prefix, name in zip(("", "floor_"), names, strict=True):
        wanted = [report[split][f"{prefix}{score}"] for split in ("test", "validation") for score in ("nme", "w1")]
        assert seen.row(name)[1:] == [f"{value:.2f}" for value in wanted]
    for kind, name in {"affine": "affine map", "similarity": "similarity"}.items():
        cells = seen.row(f"oracle: best {name}")
        assert (cells[1], cells[3]) == tuple(f"{report[s][f'oracle_{kind}_nme']:.2f}" for s in ("test", "validation"))
    parts = [row for row in seen.rows if row[0] == "detector"][1]
    assert parts[1:] == [f"{value:.2f}" for value in report["test"]["parts"].values()]
    assert seen.row("G(shape, z)")[1:] == ["6.61", "26.52", "5.53", "0.74", "152.51", "5.08"]
    assert "how far 417 images by G" in seen.text
    assert "Measured on 517 labelled test images and 263 labelled validation images" in seen.text
    assert f"is {report['test']['auc_08']:.3f}; {100 * report['test']['failure_08']:.1f} % of the images" in seen.text


def test_the_longest_bar_is_the_largest_error_and_the_others_are_in_proportion() -> None:
    report = run().report["test"]
    widths = [float(str(a["style"])[6:-1]) for tag, a in Page(page(run())).tags if tag == "i"]
    errors = [report[name] for name in ("nme", "oracle_affine_nme", "oracle_similarity_nme", "floor_nme")]
    assert widths == pytest.approx([100 * error / max(errors) for error in errors], abs=0.06)


def test_monitors_stand_beside_their_limits_in_words_and_colour() -> None:
    seen = Page(page(collapsed()))
    assert seen.row("spread")[1:5] == ["0.4", "≥ 0.7", "beyond", "the predicted shapes have shrunk"]
    assert seen.row("nearest")[1:4] == ["∞", f"≥ {0.5 * 0.12:.3g}", "within"]
    assert seen.row("entropy")[1:4] == ["3.2", "≤ 5", "within"]
    assert not [row for row in seen.rows if row[0] == "agreement"], "what was not measured is not shown"
    assert seen.classes().count("chip warn") == 1 and seen.classes().count("chip good") == 2


def test_a_collapse_an_alarm_and_health_are_told_apart_at_the_top() -> None:
    alarm = run(report={"alarms": ["spread is 0.4, below 0.7: shrunk"]})
    for kind, banner in {"bad": collapsed(), "warn": alarm, "good": run()}.items():
        banners = [name for name in Page(page(banner)).classes() if name.startswith("banner")]
        assert banners == [f"banner {kind}"]
    text = Page(page(collapsed())).text
    assert f"T{SENTENCE[1:]}." in text and text.count(SENTENCE[1:]) == 1 and "spread is 0.4, below 0.7" in text


def test_hostile_names_stay_text() -> None:
    text = page(hostile())
    assert "<script" not in text and "<img src=//" not in text and text.count("&lt;script&gt;") > 10
    seen = Page(text)
    assert HOSTILE.replace("`", "") in seen.text.replace("`", "")
    assert seen.rows[[row[0] for row in seen.rows].index("test NME by part, %")][1] == HOSTILE


def test_without_landmarks_nothing_is_claimed() -> None:
    seen = Page(page(blind()))
    assert "its error is unknown" in seen.text and "bar" not in seen.classes()
    assert "No held-out image has landmarks" in seen.text and not [row for row in seen.rows if row[0] == "detector"]
    assert "Its error is unknown" in seen.text and "No images were held out to check for a collapse" in seen.text


def test_a_search_is_shown_where_there_was_one() -> None:
    text = Page(page(tuned())).text
    assert (
        "ran 37 trials and brought W₁ on the validation split from 5.62 % to 5.12 %." in text
        and "17.25" in text
        and "12345" in text
    )
    untuned = replace(run(), pictures={})
    assert "The search for the coefficients" not in Page(page(untuned)).text


def test_without_a_gan_nothing_of_it_is_shown() -> None:
    text = page(without_a_gan())
    assert "No GAN was trained in this run" in text and "G(shape, z)" not in text and "restorations" not in text


def test_cost_origin_and_every_parameter_are_on_the_page() -> None:
    text = Page(page(run())).text
    for fact in ("312 s", "bfloat16", "812.5 images per second", "f" * 32, "mlflow ui", "abc123", "3001", "2600"):
        assert fact in text
    terms = page(run())
    assert f'<a href="{run().address}">{"f" * 32}</a>' in terms
    assert "/runs/" not in page(replace(run(), address=None)), "without MLflow there is nothing to lead to"
    for name in run().parameters:
        assert f"<dt>{name.partition('.')[2] or name}</dt>" in terms


def test_few_photos_are_warned_of_above_everything_else() -> None:
    few = {name: {**run().report[name], "images": count} for name, count in {"test": 6, "validation": 263}.items()}
    seen = Page(page(run(report=few)))
    assert (
        "Read it with caution: the test error rests on 6 photos." in seen.text
        and "caution" not in Page(page(run())).text
    )
    assert seen.row("error, %")[1:] == ["test NME (6 photos)", "test W₁ (6 photos)", *seen.row("error, %")[3:]]
    assert "Mean error on the test split (6 photos)" in seen.text


def test_what_another_detector_saw_is_not_denied() -> None:
    started = replace(run().detector, training={"mode": "unsupervised", "initial": "0123"})
    assert "without a single annotated image" in Page(page(run())).text
    assert "without a single annotated image" not in Page(page(run(detector=started))).text


def test_small_pictures_are_put_in_as_they_are_and_large_ones_smaller() -> None:
    large = png(700, 700, noise=True)
    assert len(large) > LARGE
    images = [a for tag, a in Page(page(run(pictures={"ced": png(), "overlays": large}))).tags if tag == "img"]
    kinds = [re.match(r"data:image/(\w+);base64,(.*)", str(image["src"])) for image in images]
    first, second = ((found[1], base64.b64decode(found[2])) for found in kinds if found)
    assert first == ("png", png()) and (images[0]["width"], images[0]["height"]) == ("40", "30")
    assert second[0] == "webp" and len(second[1]) < len(large)
    with Image.open(io.BytesIO(second[1])) as picture:
        assert picture.size == (700, 700)


def test_the_pictures_of_a_run_are_gathered_with_the_last_look_in_training(tmp_path: Path) -> None:
    assert gather(tmp_path) == {}
    places = ("barycenter.png", "figures/ced.png", "samples/000500.png", "samples/001000.png")
    for size, place in enumerate(places, 20):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(png(size, size))
    found = gather(tmp_path)
    assert found["training"] == png(23, 23) and set(found) == {"barycenter", "ced", "training"}


@pytest.mark.parametrize("damaged", [b"", b"GIF89a", png()[:-40], png()[:50] + bytes(20) + png()[70:]])
def test_a_damaged_picture_is_named(damaged: bytes, tmp_path: Path) -> None:
    (tmp_path / "barycenter.png").write_bytes(damaged)
    with pytest.raises(BruleError, match=r"barycenter.png: is not a whole PNG; restore it with dvc checkout"):
        gather(tmp_path)
