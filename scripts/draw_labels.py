"""Draw the fixed lists of labelled images: experiments/labels/300w-{10,50,157}-{a,b,c}.txt.

    PYTHONPATH=src python scripts/draw_labels.py LOCATION      (a folder, an archive or a URL, as data.location)

The committed lists were drawn from the training part of a partial copy of 300-W: all of afw, 870 faces of
helen/trainset and 805 of lfpw/trainset, all of which the official set contains. Another copy gives other lists. Draws
a, b and c have the seeds 0, 1 and 2. Each takes one face per photo; its 10 are the first of its 50, its 50 of its 157.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from brule import config, files
from brule.data.layouts import Record
from brule.data.sources import fetch
from brule.data.splits import photo_groups
from brule.terminal import main

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "experiments" / "labels"
SEEDS = {"a": 0, "b": 1, "c": 2}
COUNTS = (10, 50, 157)


def photos(location: str) -> list[list[str]]:
    """The names of the training faces, without suffix: one list per photo group, all in order."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        source = {"source": "300w", "location": location, "sha256": None, "labels": None, "shapes": None, "extra": None}
        fetch(config.read(ROOT / "params.yaml").data.model_copy(update=source), 0, raw)
        entries = json.loads((raw / "manifest.json").read_text(encoding="utf-8"))["records"]
        records = [Record(**entry) for entry in entries if entry["split"] == "train"]
        members: dict[str, list[str]] = {}
        for record, group in zip(records, photo_groups(raw, records), strict=True):
            members.setdefault(group, []).append(record.image.rpartition(".")[0])
    return sorted(sorted(names) for names in members.values())


def draw(groups: list[list[str]], seed: int) -> list[str]:
    """One face from each of 157 photos, in the order drawn."""
    rng = np.random.default_rng(seed)
    return [str(rng.choice(groups[k])) for k in rng.permutation(len(groups))[: max(COUNTS)]]


def run() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: PYTHONPATH=src python scripts/draw_labels.py LOCATION")
    groups = photos(sys.argv[1])
    faces = sum(map(len, groups))
    for letter, seed in SEEDS.items():
        names = draw(groups, seed)
        for count in COUNTS:
            head = (
                f"# {count} labelled faces of 300-W, draw {letter} (seed {seed}): one face a photo, out of {faces} "
                f"training faces in {len(groups)} photos\n"
                "# Names as in data/crops/train/index.csv, without suffix. Drawn by scripts/draw_labels.py; fixed.\n"
            )
            files.write_text(FOLDER / f"300w-{count}-{letter}.txt", head + "\n".join(sorted(names[:count])) + "\n")


if __name__ == "__main__":
    main(run)
