"""Landmark shapes from wherever they lie: a file of any form, or a folder or an archive of such files.

Unpaired shapes may have any unit, the same for x and y, because each is scaled by its own box before use.
"""

import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from brule.data.download import is_archive, unpacked
from brule.data.faults import attempt, raise_all
from brule.data.forms import own_csv, own_json, recognise
from brule.data.forms.objects import File, Sizes, gather, nothing_known
from brule.data.labels import Labels
from brule.data.layouts import visible
from brule.data.pts import read_pts
from brule.errors import BruleError, counted

_OWN = {".json": own_json.read, ".csv": own_csv.read}
"""The forms of brule itself."""


def read_shapes(path: Path | str, sizes: Sizes = nothing_known) -> Labels:
    """The landmarks of objects: unpaired shapes, or the labels of images where the file names these.

    - a folder, zip or tar of `.pts`, or one `.pts`;
    - JSON: {"names": [...], "shapes": [[[x, y], ...], ...]}, names optional. "edges" are the pairs of landmarks that
      pictures join, "pairs" those that a mirror swaps, "normaliser" the pair whose distance divides the NME; a landmark
      is written as its name or its index. "images" and "sizes" name each shape's image and its [width, height];
    - CSV, long: columns shape, name, x, y, one landmark per row;
    - CSV, wide: one shape per row, columns x0, y0, x1, y1, … or nose_x, nose_y, …; shape, id and image are ignored;
    - the files of labelling tools, told by their content: COCO keypoints, CVAT for images, Label Studio, labelme,
      DeepLabCut's CSV, TPS; also a folder, zip or tar of them. Each complete object counts, even several of an image.

    `sizes`: of images, which some of these files need (the height for TPS). Raises BruleError naming file and line if
    the content has none of these forms, is not finite, or the shapes differ in K.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, path, sizes)
    if is_archive(path):
        with tempfile.TemporaryDirectory() as workspace, unpacked(path, Path(workspace)) as folder:
            return _read_folder(folder, path, sizes)
    if path.suffix.lower() == ".pts":
        return Labels(read_pts(path)[None])
    if found := recognise.read(path, sizes):
        return gather([found], path)
    if own := _OWN.get(path.suffix.lower()):
        return own(path)
    raise BruleError(
        f"{path}: not a file of landmark shapes; give a folder, zip or tar of .pts, one .pts, a .csv or a .json, or "
        "the file of COCO keypoints, CVAT for images, Label Studio, labelme, DeepLabCut (.csv) or TPS"
    )


def _read_folder(folder: Path, origin: Path, sizes: Sizes) -> Labels:
    every = list(visible(folder))
    found = [file for file in every if file.suffix.lower() == ".pts"]
    if not found:
        return _read_tool(every, origin, sizes)
    read = [attempt(partial(read_pts, file)) for file in found]
    shapes = [shape for shape in read if not isinstance(shape, BruleError)]
    usual = Counter(map(len, shapes)).most_common(1)[0][0] if shapes else 0
    failed = []
    for file, shape in zip(found, read, strict=True):
        if isinstance(shape, BruleError):
            failed.append(shape)
        elif len(shape) != usual:
            failed.append(
                BruleError(f"{file}: has {counted(len(shape), 'landmark')}, most have {usual}; make them agree")
            )
    raise_all(failed)
    return Labels(np.stack(shapes))


def _read_tool(every: Sequence[Path], origin: Path, sizes: Sizes) -> Labels:
    """The files of a labelling tool in a folder, or one file of shapes, among whatever else lies there."""
    read = (recognise.read(file, sizes) for file in every if file.suffix.lower() in recognise.SUFFIXES)
    found: list[File] = [each for each in read if each is not None]
    own = [file for file in every if file.suffix.lower() in _OWN]
    if not found and len(own) == 1:
        return _OWN[own[0].suffix.lower()](own[0])
    if not found:
        raise BruleError(
            f"{origin}: holds no .pts file, nor any of COCO keypoints, CVAT for images, Label Studio, labelme, "
            "DeepLabCut (.csv) or TPS; give the folder that holds the landmark shapes"
        )
    return gather(found, origin)
