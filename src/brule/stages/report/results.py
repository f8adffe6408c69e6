"""What came out: the errors beside their yardsticks, the faces behind them, and the generator's images."""

from __future__ import annotations

from brule.data.schemes import IBUG68
from brule.stages import wording
from brule.stages.report.findings import Findings
from brule.stages.report.html import Html, details, join, paragraph, table, tag
from brule.stages.report.pictures import figure
from brule.stages.wording import number

_ALONE = {
    "unsupervised": "It learned this without a single annotated image.",
    "semi-supervised": "It learned this from many images, some of them annotated.",
    "supervised": "It learned this from annotated images.",
}
_BARS = {"": "detector", "oracle_affine_": "oracle: affine map"}
_BARS |= {"oracle_similarity_": "oracle: similarity", "floor_": "floor: barycenter"}


def purpose(run: Findings) -> str:
    """What the model does, in words that need no knowledge of it."""
    names = run.detector.scheme.names
    some = ", ".join(f"“{name.replace('_', ' ')}”" for name in names[:: -(-len(names) // 3)])
    what = "face" if run.detector.scheme == IBUG68 else "object"
    # What another detector had seen, that it started from, is not on record.
    alone = "" if run.detector.training.get("initial") else _ALONE.get(wording.mode(run.detector), "")
    points = f"{len(names)} named points of it"
    return f"It looks at a picture of one {what} and says where {points} lie, such as {some}. {alone}".rstrip()


def told(run: Findings) -> bool:
    """Whether any held-out image has landmarks to measure against."""
    return any(run.report[split]["nme"] is not None for split in ("test", "validation"))


def glance(run: Findings) -> Html:
    """The error as a bar among its yardsticks; nothing without landmarks."""
    split = next((name for name in ("test", "validation") if run.report[name]["nme"] is not None), None)
    if split is None:
        return Html()
    values = {label: run.report[split][f"{prefix}nme"] for prefix, label in _BARS.items()}
    longest = max(values.values()) or 1.0
    rows = [_bar(label, value, value / longest, label == "detector") for label, value in values.items()]
    unit = f"Mean error on the {split} split, in % of {wording.unit(run.detector.scheme)}; shorter is better."
    return tag("div", *rows, paragraph(unit, "note"), class_="bars")


def _bar(label: str, value: float, share: float, own: bool) -> Html:
    filled = tag("i", style=f"width:{100 * share:.1f}%")
    cells = tag("span", label), tag("span", filled, class_="track"), tag("b", number(value))
    return tag("div", *cells, class_="bar own" if own else "bar")


def result(run: Findings) -> Html:
    """The table of errors, what it means, and how the errors are spread."""
    if not told(run):
        text = "No held-out image has landmarks, so there is no error to show; a `.pts` beside some images gives one."
        return join(tag("h2", "How good it is"), paragraph(text))
    parts = run.report["test"].get("parts")
    return join(
        tag("h2", "How good it is"),
        table(["error, %", *wording.COLUMNS.values()], wording.errors(run.report), "numbers first"),
        paragraph(wording.YARDSTICKS),
        paragraph(f"Errors are in percent of {wording.unit(run.detector.scheme)}. {wording.measured(run.report)}"),
        table(["test NME by part, %", *parts], [["detector", *map(number, parts.values())]]) if parts else "",
        figure(
            run,
            "ced",
            "Curves: the share of test images below each error, for the detector, its floor and its oracles",
            "Up and to the left is better: the curve says which share of the test images has an error below the one "
            "at the axis. The dashed line is 8 %, where the area and the failure rate are read.",
        ),
    )


def faces(run: Findings) -> Html:
    """The best, the median and the worst answers."""
    caption = "In colour what was found, on images that training never saw."
    if told(run):
        caption += " White is the truth. The rows are ranked by the error: the best, the median and the worst images."
    picture = figure(
        run,
        "overlays",
        "Held-out images with the landmarks that were found on them",
        caption,
        wide=True,
    )
    return join(tag("h2", "What it finds"), picture, _names(run))


def _names(run: Findings) -> Html:
    names = run.detector.scheme.names
    listed = tag("ol", *(tag("li", name) for name in names), start="0", class_="names")
    return details(f"The names of the {len(names)} landmarks", listed)


def barycenter(run: Findings) -> Html:
    """X_b."""
    picture = figure(
        run,
        "barycenter",
        "The barycenter over the shapes it was computed from",
        "Faint the shapes, in front of them X_b, which the floor answers for every image.",
    )
    text = (
        "X_b is the Wasserstein barycenter of the unpaired landmark shapes: their mean form. It is what training "
        "starts from, and what keeps the landmarks in their places."
    )
    return join(tag("h2", "The barycenter"), paragraph(text), picture) if picture else Html()


def generator(run: Findings) -> Html:
    """The GAN's images and their scores; where no GAN was trained, a word that says so."""
    title = tag("h2", "What the generator draws")
    if not run.report["samples"]["shapes"]:
        return join(title, paragraph("No GAN was trained in this run, or there are not two shapes to ask it for."))
    row = ["G(shape, z)", *wording.samples(run.report["samples"])]
    return join(
        title,
        paragraph("The generator G, trained beside the detector, paints an image for a shape and a style z."),
        table(["images by the GAN", *wording.SAMPLES.values()], [row]),
        paragraph(wording.sampled(run.report)),
        figure(
            run,
            "samples",
            "Rows of generated images under the shapes that were asked for",
            "A shape asked for a column, a style a row. The landmarks drawn are those asked for.",
            wide=True,
        ),
        figure(
            run,
            "training",
            "Validation images, their restorations and the same landmarks in two styles",
            "At the last look in the course of training: validation images with the landmarks found on them, their "
            "restorations, and the same landmarks in two random styles.",
            wide=True,
        ),
    )
