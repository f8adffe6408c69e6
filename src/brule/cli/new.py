"""`brule new`: from photos and a few shapes to an experiment that one command trains, with a look at it first."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from brule.errors import counted

if TYPE_CHECKING:
    from brule.data.schemes import Scheme
    from brule.stages.proposal import Proposal

TITLE = "Look at your photos and shapes, and write an experiment that one command trains."
EPILOG = """\
Run it in the project's folder. It decodes every photo, reads the shapes, and tells what it found. It writes
experiments/NAME.yaml, what differs from params.yaml for these photos, and results/NAME-sheet.png: twelve crops, cut
as training will see them, with the mean shape X_b drawn on each, its landmarks numbered and named. It prints the
command that trains, and how long that takes here. The GAN is left out unless you ask for it: the detector is no
better for it. With --fine it proposes a model that sees 128 pixels where the usual one sees 64: its error is smaller,
and its training takes several times as long. If anything is wrong, it says what, and writes nothing.

PHOTOS is a folder, a zip or tar, or a URL. Photos need no landmarks, but those that have some measure the errors: in a
.pts beside the photo, or in the FILE of a labelling tool, as data.labels takes it. SHAPES is a file or folder of
landmark shapes that may belong to none of the photos: a folder, zip or tar of .pts, a CSV or a JSON, as data.shapes
takes them. Without --shapes, the photos' own landmarks are the shapes.

Look at the sheet before you train. X_b should be about as large as the object, with left and right on the right sides.
Photos with landmarks are cut around them. All others are cut to their largest centred square, and X_b takes up
prepare.crop_fill of its width. That is measured if some photos have landmarks, or if SHAPES names its images and their
sizes. Otherwise it is estimated: the object is taken to be where the photos have their edges. The estimate may be off
by a third. If X_b is too large or too small on the sheet, run the command again with --crop-fill and --force.

examples:
  brule new pictures --shapes shapes.json
  brule new xrays.zip --shapes shapes.csv --name lungs --fine
  brule new pictures --shapes shapes.json --crop-fill 0.6 --force"""
NAMED = 12
"""Pairs or landmarks that are named in the terminal; the sheet and the shapes' file name the rest."""
FEW = 5
"""Shapes below which X_b itself is shaky."""


def arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = command.add_argument
    add("photos", metavar="PHOTOS", help="a folder, an archive or a URL")
    add("--shapes", metavar="SHAPES", help="landmark shapes; default: the photos' own landmarks")
    add("--labels", metavar="FILE", help="landmarks of some of the photos, from a labelling tool")
    add("--name", metavar="NAME", help="of the experiment; default: made from the name of PHOTOS")
    fill = "the share of a crop's width that the landmarks span, if you know it: 0.11 to 1"
    add("--crop-fill", type=_share, metavar="SHARE", help=fill)
    add("--fine", action="store_true", help="a finer model, which makes smaller errors and takes longer")
    add("--gan", action="store_true", help="train the GAN as well, which draws images")
    add("--force", action="store_true", help="replace an experiment of this name")


def run(args: argparse.Namespace) -> bool:
    """Propose, and say what was found. Any failure raises: the result is never True."""
    from brule.stages.proposal import propose

    given = args.photos, args.shapes, args.labels
    proposal = propose(*given, args.name, args.crop_fill, args.force, args.gan, args.fine)
    print("\n".join([*_photos(proposal), *_shapes(proposal), *_framing(proposal, args.crop_fill), *_next(proposal)]))
    return False


def _share(text: str) -> float:
    from brule.stages.survey import FILLS

    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not FILLS[0] <= share <= FILLS[1]:
        raise argparse.ArgumentTypeError(f"{text} is not a share of the crop's width; give {FILLS[0]} to {FILLS[1]:g}")
    return share


def _photos(found: Proposal) -> Iterator[str]:
    from brule.data.layouts import tally

    photos, splits = found.photos, found.splits
    shares = f"{splits['train']} to train on, {splits['validation']} for validation, {splits['test']} for the test"
    yield f"Photos: {len(photos.found)}; {shares}."
    width, height = sorted(photos.sizes.tolist(), key=min)[len(photos.sizes) // 2]
    small = int((photos.sizes.min(1) < found.image_size).sum())
    enlarged = f"; {small} are smaller than {found.image_size} pixels and are enlarged" if small else ""
    yield f"  Their size is {width} × {height} pixels (the median){enlarged}."
    if photos.passed:
        yield f"  Passed over: {tally(photos.passed)}."
    if found.twins:
        yield f"  {found.twins} are exact copies of others; no split separates them."
    if photos.landmarks:
        yield f"  {len(photos.landmarks)} have landmarks, which measure the errors, but are not trained on."
        return
    yield "  None has landmarks, so no error can be measured, only alarms."
    if found.named:
        yield f"  The shapes name {found.named} of them: give that file as --labels as well, to measure the errors."
    else:
        yield "  A few would change that: as --labels, or in a .pts beside a photo."


def _shapes(found: Proposal) -> Iterator[str]:
    count, landmarks = found.shapes.points.shape[:2]
    origin = "" if found.given else ", those of the photos themselves"
    yield f"Shapes: {count} of {counted(landmarks, 'landmark')}{origin}."
    yield from _mirror(found.scheme)
    allowed, wanted = found.modes
    if count < FEW:
        yield f"  So few give only a rough mean shape. Give {FEW} or more."
    elif not allowed:
        yield "  Enough for the mean shape. Its modes are not used, since no training photo has landmarks to be cut by."
    elif allowed < wanted:
        yield f"  Enough for the mean shape and {allowed} modes of the {wanted} that the schedule can use."
    else:
        yield f"  Enough: the schedule can use all of its {wanted} modes."
    if found.scheme.normaliser is None:
        yield "  Errors will be in % of the diagonal of the landmarks' box: the shapes name no normaliser."
    else:
        one, other = (found.scheme.names[k] for k in found.scheme.normaliser)
        yield f"  Errors will be in % of the distance from {one} to {other}."


def _mirror(scheme: Scheme) -> Iterator[str]:
    """Which landmarks are mirrored pairs, and which are not."""
    from brule.data.schemes import alone

    if scheme.flip is None:
        yield "  No mirrored pairs are known, so images are not mirrored in training."
        if partnerless := alone(scheme.names):
            yield f"  {_list(partnerless)}: left or right is in the name, but no other name is that of its partner."
        else:
            yield '  If some landmarks swap in a mirror, put left and right in their names, or write "pairs".'
        return
    pairs = [
        (name, scheme.names[k]) for own, (name, k) in enumerate(zip(scheme.names, scheme.flip, strict=True)) if k > own
    ]
    middle = [name for own, (name, k) in enumerate(zip(scheme.names, scheme.flip, strict=True)) if k == own]
    yield f"  Mirrored pairs: {len(pairs)}: {_list([f'{one} ⇄ {other}' for one, other in pairs])}."
    yield f"  Not paired: {len(middle)}: {_list(middle)}." if middle else "  All landmarks are paired."


def _list(names: list[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _framing(found: Proposal, asked: float | None) -> Iterator[str]:
    frame = found.frame
    if asked is not None:
        yield f"crop_fill {frame.fill:g}, as you say."
    elif frame.measured:
        whose = "photos" if found.photos.landmarks else "images of the shapes"
        yield f"crop_fill {frame.fill:g}: measured on {frame.measured} {whose} (the median)."
    else:
        yield f"crop_fill {frame.fill:g}: an estimate, from where the photos have their edges. The sheet shows it."
    if frame.outside:
        yield (
            f"  In {frame.outside} of them some landmarks lie outside the largest centred square, which is all that "
            "training sees of a photo without landmarks. Squarer photos would help."
        )


def _next(found: Proposal) -> Iterator[str]:
    yield f"Training takes about {duration(found.seconds)} on this machine, by its speed just now."
    yield f"Written: {found.experiment}, and {found.sheet}. Look at the sheet first."
    yield "Then train:"
    yield f"  python pipelines/experiment.py {found.name}"


def duration(seconds: float) -> str:
    """45 seconds, 12 minutes, 3.5 hours"""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
