"""The data sources by name. `fetch` brings each into one form: images, `.pts` beside the labelled ones, a manifest."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from brule import config, files
from brule.data.download import digest, is_archive, local, unpacked
from brule.data.forms import own_json
from brule.data.inspection import admit
from brule.data.labels import Labels
from brule.data.landmarks import read_shapes
from brule.data.layouts import Found, Record, passed_over, scan_300w, scan_celeba, scan_folder, tally
from brule.data.matching import agree, label
from brule.data.schemes import IBUG68, Scheme
from brule.errors import BruleError, public
from brule.terminal import track


@dataclass(frozen=True)
class Source:
    """A kind of data set."""

    licence: str
    scan: Callable[[Sequence[Path]], list[Found]]
    expected: str
    """What its location must hold, for the sentence that says nothing was found."""
    scheme: Scheme | None = None
    nested: bool = False
    """Whether archives directly inside the location are opened too."""


SOURCES: dict[str, Source] = {
    "300w": Source(
        licence="research only (iBUG facial point annotations; the photos' own licences apply)",
        scan=scan_300w,
        expected="afw, helen, lfpw or ibug with .jpg or .png and .pts, as on the iBUG facial point annotations page",
        scheme=IBUG68,
        nested=True,
    ),
    "celeba": Source(
        licence="non-commercial research only (CelebA agreement)",
        scan=scan_celeba,
        expected="the aligned images img_align_celeba, as on the CelebA project page",
    ),
    "folder": Source(
        licence="the user's own",
        scan=scan_folder,
        expected="images (.jpg, .png, .bmp, .webp, .tif)",
    ),
}
SYNTHETIC_LICENCE = "MIT (rendered by brule)"


def fetch(data: config.Data, seed: int, destination: Path) -> dict[str, int]:
    """Write `destination` (data/raw): images, `.pts`, `manifest.json`, and `shapes.json` if `data.shapes` is set.

    The landmarks of `data.labels` become the `.pts` of their images.

    All or nothing. Returns the counts. Raises BruleError naming the location, the file or the key.
    """
    with files.folder(destination) as folder:
        shapes = _shapes(data)
        records, sha256, licence, labels = _primary(data, seed, folder, shapes.points.shape[1] if shapes else None)
        if labels and shapes:
            labels, shapes = agree(labels, shapes)
        scheme = IBUG68 if data.source == "synthetic" else SOURCES[data.source].scheme
        manifest: dict[str, Any] = {
            "source": data.source,
            "location": public(data.location) if data.location else None,
            "licence": licence,
            "sha256": sha256,
            "scheme": scheme.to_json() if scheme else None,
            "extra": None,
            "shapes": None,
        }
        if labels:
            manifest["labels"] = public(str(data.labels))
            manifest["scheme"] = labels.scheme.to_json() if labels.scheme else manifest["scheme"]
        if data.extra:
            place = data.extra.location
            extra, sha256, _ = _gather(data.extra.source, place, data.extra.sha256, folder, extra=True)
            licence = SOURCES[data.extra.source].licence
            manifest["extra"] = data.extra.model_dump(mode="json") | {
                "location": public(str(place)),
                "licence": licence,
                "sha256": sha256,
            }
            records += extra
        if shapes:
            manifest["shapes"] = "shapes.json"
            files.write_json(folder / "shapes.json", own_json.mapping(shapes))
        counts = _counts(records)
        manifest |= {"counts": counts, "records": [asdict(record) for record in records]}
        files.write_json(folder / "manifest.json", manifest)
    return counts


def _shapes(data: config.Data) -> Labels | None:
    if not data.shapes:
        return None
    with local(data.shapes, key="data.shapes") as path:
        return read_shapes(path)


def _primary(
    data: config.Data, seed: int, folder: Path, landmarks: int | None
) -> tuple[list[Record], str, str, Labels | None]:
    if data.source == "synthetic":
        # Imported here, so that no other source needs the renderer.
        from brule.data.rendering import draw

        found = draw(data.synthetic, seed, folder / "synthetic")
        records, sha256 = _records(found, "synthetic", extra=False), tree_digest(each.image for each in found)
        return records, sha256, SYNTHETIC_LICENCE, None
    records, sha256, labels = _gather(data.source, data.location, data.sha256, folder, False, data.labels, landmarks)
    return records, sha256, SOURCES[data.source].licence, labels


def _gather(
    name: str,
    location: str | None,
    sha256: str | None,
    folder: Path,
    extra: bool,
    labelled: str | None = None,
    landmarks: int | None = None,
) -> tuple[list[Record], str, Labels | None]:
    """Bring the images of one source into `folder`, and beside them the landmarks that `labelled` has of them.

    landmarks: as many as each `.pts` must have; None: as most have.

    Returns their records, the digest of the archive or the files, and these landmarks.
    """
    source, place = SOURCES[name], f"extra/{name}" if extra else name
    key = "data.extra.location" if extra else "data.location"
    if not location:
        raise BruleError(f"{key}: is empty but {name} needs one; set it to a folder, an archive or a URL")
    with ExitStack() as stack:
        workspace = folder / ".unpacked"
        stack.callback(shutil.rmtree, workspace, ignore_errors=True)
        path = stack.enter_context(local(location, sha256, key))
        roots = [stack.enter_context(unpacked(path, workspace))]
        if source.nested:
            inner = [each for each in sorted(roots[0].iterdir()) if is_archive(each)]
            roots += [stack.enter_context(unpacked(each, workspace / "inner")) for each in inner]
        found = [each for each in source.scan(roots) if not (extra and each.split == "test")]
        if not found:
            raise BruleError(f"{location}: holds no {name} data; it must hold {source.expected}")
        if name == "folder" and (passed := passed_over(roots[0], {each.image for each in found})):
            print(f"{public(location)}: passed over {tally(passed)}.")
        admit(found, landmarks)
        labels = None
        if labelled:
            found, labels = label(found, labelled, workspace / "labels")
        for each in track(found, f"Gathering {name}", len(found)):
            _bring(each, folder / place, workspace)
        here = [folder / place / each.name for each in found]
        sha256 = digest(path) if path.is_file() else tree_digest(here)
        return _records(found, place, extra), sha256, labels


def _bring(found: Found, place: Path, workspace: Path) -> None:
    """Copy the user's files. Move unpacked ones."""
    target = place / found.name
    if target.exists():
        raise BruleError(f"{found.name}: appears twice; give each image once")
    target.parent.mkdir(parents=True, exist_ok=True)
    pairs = [(found.image, target)]
    # Two images may share one .pts, and the first has then moved it already.
    if found.points and not target.with_suffix(".pts").exists():
        pairs.append((found.points, target.with_suffix(".pts")))
    for source, copy in pairs:
        if source.is_relative_to(workspace):
            os.replace(source, copy)
        else:
            shutil.copyfile(source, copy)


def _records(found: Iterable[Found], place: str, extra: bool) -> list[Record]:
    return [
        Record(
            image=f"{place}/{each.name}",
            points=str(Path(place, each.name).with_suffix(".pts").as_posix()) if each.points else None,
            group=f"{place}/{each.group}",
            split="train" if extra else each.split,
            extra=extra,
            crop=each.crop,
        )
        for each in found
    ]


def tree_digest(paths: Iterable[Path]) -> str:
    """The sha256 of the names and contents of files, and of the `.pts` beside them, in the order of their names."""
    tree = hashlib.sha256()
    for path in sorted(paths):
        for file in (path, path.with_suffix(".pts")):
            if file.exists():
                tree.update(file.name.encode() + b"\0" + bytes.fromhex(digest(file)))
    return tree.hexdigest()


def _counts(records: list[Record]) -> dict[str, int]:
    counts = {"images": len(records), "labelled": sum(record.points is not None for record in records)}
    for split in ("train", "validation", "test"):
        counts[split] = sum(record.split == split and not record.extra for record in records)
    return counts | {"extra": sum(record.extra for record in records)}
