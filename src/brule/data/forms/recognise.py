"""Which tool wrote a file: told by its content, not by its name."""

from pathlib import Path

from brule.data.forms import coco, cvat, deeplabcut, labelme, labelstudio, tps
from brule.data.forms.objects import File, Sizes
from brule.documents import parse_json, read_text

SUFFIXES = (".json", ".xml", ".csv", ".tps", ".txt")
"""Of the files that a folder of labels is searched for."""


def read(path: Path, sizes: Sizes) -> File | None:
    """The objects of a file, in the form of any tool. None: no tool of these wrote it.

    Raises BruleError naming the file, the object and the mend.
    """
    text = read_text(path)
    match text.lstrip()[:1]:
        case "{" | "[" if path.suffix.lower() != ".csv":
            raw = parse_json(text, path)
            if coco.recognised(raw):
                return coco.read(path, raw)
            if labelstudio.recognised(raw):
                return labelstudio.read(path, raw, sizes)
            if labelme.recognised(raw):
                return labelme.read(path, raw)
        case "<":
            return cvat.read(path, text)
        case _ if tps.recognised(text):
            return tps.read(path, text, sizes)
        case _ if deeplabcut.recognised(text):
            return deeplabcut.read(path, text)
    return None
