"""Archives and folders that somebody has prepared, or that have grown by themselves."""

import io
import os
import random
import stat
import tarfile
import zipfile
from pathlib import Path

from conftest import parameters
from mangled import FILES

from brule import config
from brule.data.prepare import prepare
from brule.data.sources import fetch
from campaign.doors import photo_folder
from campaign.harms import hurt
from campaign.verdicts import answer, expect, leftovers

NAMES = [
    *(
        "../up.png",
        "/tmp/campaign-up.png",
        "a/../../up.png",
        "..",
        ".",
        "",
        "a\\..\\..\\up.png",
        "C:\\up.png",
        "a//b.png",
    ),
    *(
        "new\nline.png",
        "tab\t.png",
        "é.png",
        "e\u0301.png",
        "\u202egnp.png",
        "x" * 240 + ".png",
        "a/" * 200 + "deep.png",
    ),
    *(
        "CON.png",
        " .png",
        ".hidden.png",
        "-rf.png",
        "$(x).png",
        "a.PNG",
        "a.png",
        "__MACOSX/._a.png",
        "0.png/inside.png",
    ),
]
MODES = [stat.S_IFREG | 0o644, stat.S_IFREG, stat.S_IFLNK | 0o777, stat.S_IFIFO | 0o644, stat.S_IFDIR | 0o755]
TYPES = [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]


def archive(rng: random.Random, folder: Path) -> None:
    """An archive of photos with odd members beside them, or with damaged bytes, is the source of a run."""
    photos, kind = photo_folder(folder / "photos", rng), rng.choice(("zip", "tar", "tar.gz", "tar.xz"))
    path, odd = folder / f"photos.{kind}", rng.sample(NAMES, rng.choice((0, 0, 1, 1, 3)))
    (_zip if kind == "zip" else _tar)(path, photos, odd, rng)
    if rng.random() < 0.5:
        path.write_bytes(hurt(path.read_bytes(), rng))
    _run(str(path), folder, path.name, "data.", "prepare.")


def _zip(path: Path, photos: Path, odd: list[str], rng: random.Random) -> None:
    with zipfile.ZipFile(path, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as packed:
        for photo in sorted(photos.iterdir()):
            packed.write(photo, photo.name)
        for name in odd:
            info = zipfile.ZipInfo("a")
            info.filename, info.external_attr = name, rng.choice(MODES) << 16
            packed.writestr(info, rng.choice((b"../../up", b"/etc/passwd", FILES["whole.png"], bytes(3_000_000))))


def _tar(path: Path, photos: Path, odd: list[str], rng: random.Random) -> None:
    with tarfile.open(path, "w:" + path.name.rpartition(".")[2].removeprefix("tar")) as packed:
        for photo in sorted(photos.iterdir()):
            packed.add(photo, photo.name)
        for name in odd:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = rng.choice(TYPES), rng.choice(("../../up", "/etc/passwd", "0.png", name, ""))
            info.mode, data = rng.choice((0o644, 0, 0o7777)), rng.choice((b"", FILES["whole.png"], bytes(3_000_000)))
            info.size = len(data) if info.isreg() else 0
            packed.addfile(info, io.BytesIO(data))


def photos(rng: random.Random, folder: Path) -> None:
    """A folder of photos in which anything may lie beside the whole ones is the source of a run."""
    place = photo_folder(folder / "photos", rng)
    for number in range(rng.choice((1, 1, 2, 4))):
        _add(place, number, rng)
    _run(str(place), folder, "photos", "data.", "prepare.")


def _add(place: Path, number: int, rng: random.Random) -> None:
    name, data = rng.choice(sorted(FILES.items()))
    some = rng.choice(sorted(place.glob("*.pts")))
    match rng.randrange(9):
        case 0 | 1:
            (place / f"odd-{number}-{name}").write_bytes(data)
        case 2 | 3:
            some.write_bytes(hurt(some.read_bytes(), rng))
        case 4:
            os.symlink(
                rng.choice(("..", "nowhere", "/etc/hosts", f"loop-{number}.png", "0.png")), place / f"loop-{number}.png"
            )
        case 5:
            (place / f"sub-{number}.png").mkdir()
            (place / f"sub-{number}.png" / "0.png").write_bytes(FILES["whole.png"])
        case 6:
            os.mkfifo(place / f"pipe-{number}.png")
        case 7:
            rough = (
                os.fsencode(place)
                + b"/"
                + rng.choice((b"\xff\xfe.png", b"new\nline.png", b"\x1b[31m.png", b"'\".png", b"..png"))
            )
            with open(rough, "wb") as stream:
                stream.write(FILES["whole.png"])
        case _:
            some.unlink()


def _run(location: str, folder: Path, *named: str) -> None:
    """Download and prepare. Either may refuse; what is there afterwards is whole."""
    settings = config.parse(parameters(data={"source": "folder", "location": location, "normaliser": None}))
    raw, crops = folder / "raw", folder / "crops"
    if answer(lambda: fetch(settings.data, 0, raw), folder, *named):
        answer(lambda: prepare(raw, crops, settings.prepare, 0, None, settings.train.mode), folder, *named, "raw")
    else:
        expect(not raw.exists(), "data/raw is there though the download has failed")
    expect(not leftovers(folder), f"it leaves {leftovers(folder)[:3]}")
