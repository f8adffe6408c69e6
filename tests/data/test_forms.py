"""The files of labelling tools are read, written, told apart by their content, and refused in one sentence."""

import copy
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from brule.data.forms import coco, cvat, labelstudio, recognise, tps
from brule.data.forms.objects import Proposal, nothing_known
from brule.data.landmarks import read_shapes
from brule.data.schemes import Scheme
from brule.errors import BruleError

NAMES = ("left eye", "right eye", "tail")
POINTS = np.array([[[10.0, 20.0], [30.0, 21.5], [20.25, 40.0]], [[11.0, 22.0], [33.0, 24.5], [22.0, 44.0]]])
FILES = ["a.jpg", "b/c.png"]
SIZE = (100, 80)
HALF = 0.5  # from the centre of a pixel to its edge


def coco_file() -> dict[str, Any]:
    images = [{"id": 7 + k, "file_name": name, "width": 100, "height": 80} for k, name in enumerate(FILES)]
    annotations = [
        {"id": k, "image_id": 7 + k, "category_id": 3, "keypoints": [v for x, y in p for v in (x, y, 1 + k)]}
        for k, p in enumerate(POINTS.tolist())
    ]
    category = {"id": 3, "name": "mouse", "keypoints": list(NAMES), "skeleton": [[1, 3], [2, 3]]}
    return {"info": {}, "images": images, "annotations": annotations, "categories": [category]}


def studio_mark(name: str, x: float, y: float) -> dict[str, Any]:
    percent = {"x": (x + HALF) / SIZE[0] * 100, "y": (y + HALF) / SIZE[1] * 100, "width": 0.3, "keypointlabels": [name]}
    return {"type": "keypointlabels", "original_width": 100, "original_height": 80, "value": percent}


def studio_file() -> list[dict[str, Any]]:
    addresses = ["/data/upload/1/01ab23cd-a.jpg", "/data/local-files/?d=b%2Fc.png"]
    return [
        {
            "id": k,
            "data": {"image": addresses[k]},
            "annotations": [{"result": [studio_mark(n, *p) for n, p in zip(NAMES, POINTS[k].tolist(), strict=True)]}],
        }
        for k in range(2)
    ]


def studio_short() -> list[dict[str, Any]]:
    def flat(mark: dict[str, Any]) -> dict[str, Any]:
        return mark["value"] | {"original_width": 100, "original_height": 80}

    return [
        {
            "img": task["data"]["image"],
            "id": task["id"],
            "annotator": 1,
            "kp": [flat(mark) for mark in task["annotations"][0]["result"]],
        }
        for task in studio_file()
    ]


def labelme_file(index: int) -> dict[str, Any]:
    shapes = [
        {"label": name, "points": [[x + HALF, y + HALF]], "group_id": None, "shape_type": "point", "flags": {}}
        for name, (x, y) in zip(NAMES, POINTS[index].tolist(), strict=True)
    ]
    size = {"imageWidth": 100, "imageHeight": 80}
    return {
        "version": "5.4.1",
        "shapes": shapes,
        "imagePath": FILES[index].replace("/", "\\"),
        "imageData": None,
    } | size


def cvat_skeletons() -> str:
    images = ""
    for k, name in enumerate(FILES):
        marks = "".join(
            f'<points label="{n}" outside="0" occluded="0" points="{x + HALF},{y + HALF}"></points>'
            for n, (x, y) in zip(NAMES, POINTS[k].tolist(), strict=True)
        )
        skeleton = f'<skeleton label="mouse" source="manual" z_order="0">{marks}</skeleton>'
        images += f'<image id="{k}" name="{name}" width="100" height="80">{skeleton}</image>'
    svg = "".join(f'<circle data-node-id="{k + 1}" data-label-name="{n}"></circle>' for k, n in enumerate(NAMES))
    svg += '<line data-type="edge" data-node-from="1" data-node-to="3"></line>'
    svg += '<line data-type="edge" data-node-from="2" data-node-to="3"></line>'
    svg = svg.replace("<", "&lt;")
    labels = f"<label><name>mouse</name><type>skeleton</type><svg>{svg}</svg></label>"
    labels += "".join(f"<label><name>{n}</name><type>points</type><parent>mouse</parent></label>" for n in NAMES)
    meta = f"<meta><task><labels>{labels}</labels></task></meta>"
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>{meta}{images}</annotations>'


def cvat_points(single: bool) -> str:
    images = ""
    for k, name in enumerate(FILES):
        pairs = [f"{x + HALF},{y + HALF}" for x, y in POINTS[k].tolist()]
        if single:
            marks = "".join(f'<points label="{n}" points="{p}"/>' for n, p in zip(NAMES, pairs, strict=True))
        else:
            marks = f'<points label="mouse" points="{";".join(pairs)}"/>'
        images += f'<image id="{k}" name="{name}" width="100" height="80">{marks}</image>'
    return f"<annotations><version>1.1</version>{images}</annotations>"


def lab_cut(index: int = 1, individuals: bool = False) -> str:
    """`index`: the columns of the index, one or, in newer versions, three."""
    rows = [["scorer", *["me"] * 6], ["bodyparts", *(n for n in NAMES for _ in "xy")], ["coords", *["x", "y"] * 3]]
    if individuals:
        rows.insert(1, ["individuals", *["one"] * 6])
    gap = [""] * (index - 1)
    rows = [[row[0], *gap, *row[1:]] for row in rows]
    for name, points in zip(["a.jpg", "c.png"], POINTS.tolist(), strict=True):
        place = ["labeled-data", "b", name] if index == 3 else [f"labeled-data\\b\\{name}"]
        rows.append([*place, *(str(value) for point in points for value in point)])
    return "\n".join(map(",".join, rows)) + "\n"


def tps_file() -> str:
    lines = []
    for k, name in enumerate(FILES):
        lines += ["LM=3", *(f"{x + HALF} {SIZE[1] - y - HALF}" for x, y in POINTS[k].tolist())]
        lines += [f"IMAGE={name}", f"ID={k}", "SCALE=0.00512"]
    return "\n".join(lines) + "\n"


WHOLE: dict[str, Callable[[], Any]] = {
    "coco.json": coco_file,
    "studio.json": studio_file,
    "short.json": studio_short,
    "labelme.json": lambda: labelme_file(0),
    "skeletons.xml": cvat_skeletons,
    "single.xml": lambda: cvat_points(True),
    "several.xml": lambda: cvat_points(False),
    "one.csv": lab_cut,
    "three.csv": lambda: lab_cut(3),
    "animals.csv": lambda: lab_cut(3, True),
    "specimens.tps": tps_file,
}


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def sizes(_: str) -> tuple[int, int]:
    return SIZE


@pytest.mark.parametrize("name", WHOLE)
def test_every_form_gives_the_same_landmarks(tmp_path: Path, name: str):
    read = read_shapes(write(tmp_path / name, WHOLE[name]()), sizes)
    expected = POINTS[:1] if name == "labelme.json" else POINTS
    np.testing.assert_allclose(read.points, expected, atol=1e-9)
    numbered = name in ("several.xml", "specimens.tps")
    assert (read.scheme and read.scheme.names) == (None if numbered else NAMES)
    folder = "labeled-data/b/" if name.endswith(".csv") else ""
    told = [folder + file.rpartition("/")[2] if folder else file for file in FILES]
    assert list(read.images) == told[: len(expected)]
    assert read.sizes == (() if folder else (SIZE,) * len(expected))


def test_the_content_tells_the_form_and_not_the_name(tmp_path: Path):
    for name in WHOLE:
        kind = ".json" if name.endswith(".csv") else ".txt"
        assert len(read_shapes(write(tmp_path / (name + kind), WHOLE[name]()), sizes).points) in (1, 2)


def test_edges_come_from_coco_s_skeleton_and_from_cvat_s_drawing(tmp_path: Path):
    for name in ("coco.json", "skeletons.xml"):
        scheme = read_shapes(write(tmp_path / name, WHOLE[name]())).scheme
        assert scheme == Scheme(NAMES, (1, 0, 2), None, ((0, 2), (1, 2)))


def test_the_address_that_label_studio_leaves_in_coco_is_no_part_of_a_name(tmp_path: Path):
    raw = coco_file()
    raw["images"][1]["file_name"] = "/data/local-files/?d=b/c.png"
    assert read_shapes(write(tmp_path / "a.json", raw)).images == tuple(FILES)
    raw["images"][1]["file_name"] = "/data/local-files/?d=my%20photos/100%25.png"
    assert "my photos/100%.png" in read_shapes(write(tmp_path / "a.json", raw)).images
    raw["images"][1]["file_name"] = "100%25.png"
    assert "100%25.png" in read_shapes(write(tmp_path / "a.json", raw)).images, "a name is no address"


def test_a_folder_and_an_archive_of_labelme_files_are_read_together(tmp_path: Path):
    for index in range(2):
        write(tmp_path / "labels" / f"{index}.json", labelme_file(index))
    write(tmp_path / "labels" / "notes.json", {"about": "another program"})
    with zipfile.ZipFile(tmp_path / "labels.zip", "w") as packed:
        for path in (tmp_path / "labels").iterdir():
            packed.write(path, path.name)
    for place in ("labels", "labels.zip"):
        read = read_shapes(tmp_path / place)
        np.testing.assert_allclose(read.points, POINTS)
        assert read.images == tuple(FILES)
    with pytest.raises(BruleError, match=r"notes\.json: holds no shapes; write "):
        write(tmp_path / "other" / "notes.json", {"about": "another program"})
        read_shapes(tmp_path / "other")


def test_a_stray_mark_is_named_and_does_not_cost_all_the_others(tmp_path: Path):
    for index in range(6):
        raw = labelme_file(index % 2)
        if index == 3:
            raw["shapes"].append(raw["shapes"][0] | {"label": "extra"})
        write(tmp_path / f"{index}.json", raw)
    with pytest.raises(BruleError, match=r"3\.json: 'extra' is marked on only 1 of 6 objects; correct its name"):
        read_shapes(tmp_path)


def test_several_objects_of_an_image_all_count_as_shapes(tmp_path: Path):
    raw = coco_file()
    raw["annotations"][1]["image_id"] = 7
    assert read_shapes(write(tmp_path / "a.json", raw)).images == ("a.jpg", "a.jpg")
    raw = labelme_file(0)
    raw["shapes"] += [each | {"group_id": 2} for each in raw["shapes"]]
    assert len(read_shapes(write(tmp_path / "b.json", raw)).points) == 2


def without(name: str, index: int = 0) -> Any:
    """The file, with the first landmark of one object missing."""
    whole = WHOLE[name]()
    if name == "coco.json":
        whole["annotations"][index]["keypoints"][:3] = [0, 0, 0]
    elif name == "studio.json":
        whole[index]["annotations"][0]["result"].pop(0)
    elif name == "short.json":
        whole[index]["kp"].pop(0)
    elif name == "skeletons.xml":
        whole = whole.replace('outside="0"', 'outside="1"', 1)
    elif name == "single.xml":
        whole = whole.replace(f'<points label="{NAMES[0]}" points="10.5,20.5"/>', "")
    elif name.endswith(".csv"):
        whole = whole.replace("10.0,20.0", ",")
    elif name == "specimens.tps":
        whole = whole.replace("10.5 59.5", "-1 -1")
    return whole


@pytest.mark.parametrize("name", [name for name in WHOLE if name not in ("labelme.json", "several.xml")])
def test_objects_with_missing_landmarks_are_left_out_and_counted(tmp_path: Path, name: str, capsys):
    read = read_shapes(write(tmp_path / name, without(name)), sizes)
    np.testing.assert_allclose(read.points, POINTS[1:], atol=1e-9)
    first = "0" if name == "specimens.tps" else NAMES[0]
    told = f"{name}: 1 of 2 objects lack a landmark and are left out (most often '{first}').\n"
    assert capsys.readouterr().out.endswith(told)


def test_what_stands_beside_the_animals_of_a_frame_is_left_out(tmp_path: Path):
    rows = ["scorer" + ",me" * 8, "individuals,m1,m1,m1,m1,m2,m2,m2,m2", "bodyparts,a,a,b,b,a,a,b,b"]
    rows = [f"{row},{more}" for row, more in zip(rows, ("me,me", "single,single", "corner,corner"), strict=True)]
    rows += ["coords" + ",x,y" * 5, "f.png,1,2,3,4,5,6,7,8,9,9", "g.png" + "," * 8 + ",9,9"]
    read = read_shapes(write(tmp_path / "a.csv", "\n".join(rows)))
    assert read.points.tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]] and read.images == ("f.png", "f.png")


def test_of_several_annotations_the_ground_truth_or_the_last_counts(tmp_path: Path):
    raw = studio_file()
    other = copy.deepcopy(raw[1]["annotations"][0])
    raw[0]["annotations"].insert(0, other)
    np.testing.assert_allclose(read_shapes(write(tmp_path / "a.json", raw)).points, POINTS)
    raw[0]["annotations"][0]["ground_truth"] = True
    np.testing.assert_allclose(read_shapes(write(tmp_path / "a.json", raw)).points[0], POINTS[1])
    raw[0]["annotations"][0]["was_cancelled"] = True
    np.testing.assert_allclose(read_shapes(write(tmp_path / "a.json", raw)).points, POINTS)


def test_tps_is_turned_over_by_the_image_beside_it_or_within_its_own_extent(tmp_path: Path, capsys):
    path = write(tmp_path / "s.tps", tps_file())
    read = read_shapes(path)
    assert "the height of 2 of 2 images is unknown" in capsys.readouterr().out
    offset = read.points - POINTS
    np.testing.assert_allclose(offset, offset[:, :1] * np.ones_like(POINTS), atol=1e-9)
    assert not read.sizes
    Image.new("RGB", SIZE).save(tmp_path / "a.jpg")
    np.testing.assert_allclose(read_shapes(path).points[0], POINTS[0])


def changed(name: str, change: Callable[[Any], Any]) -> tuple[str, Any]:
    whole = WHOLE[name]()
    return name, change(whole) or whole


def put(*path: Any) -> Callable[[Any], Any]:
    """put("a", 0, "b", value): whole["a"][0]["b"] = value."""

    def change(whole: Any) -> None:
        *keys, last, value = path
        for key in keys:
            whole = whole[key]
        whole[last] = value

    return change


def swap(old: str, new: str, count: int = -1) -> Callable[[str], str]:
    return lambda whole: whole.replace(old, new, count)


def two_categories(raw: dict[str, Any]) -> None:
    raw["categories"].append({"id": 4, "name": "cat", "keypoints": ["left eye", "right eye", "nose"]})
    raw["annotations"][1]["category_id"] = 4


BOX = [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "num_keypoints": 0}]
RECTANGLE = {"type": "rectanglelabels", "value": {"x": 1, "y": 2, "width": 3, "height": 4, "rectanglelabels": ["a"]}}
BAD: list[tuple[tuple[str, Any], str]] = [
    # boxes alone, or nothing
    (changed("coco.json", put("annotations", BOX)), "holds 1 boxes or other marks but no landmarks"),
    (changed("coco.json", put("annotations", [])), "holds no landmarks; mark the landmarks as points"),
    (changed("studio.json", lambda raw: [raw[0] | {"annotations": [{"result": [RECTANGLE]}]}]), "holds 1 boxes or"),
    (changed("studio.json", lambda raw: [raw[0] | {"annotations": []}]), "holds no landmarks"),
    (changed("labelme.json", put("shapes", [{"shape_type": "rectangle", "points": []}])), "holds 1 boxes or"),
    (("box.xml", '<annotations><image name="a"><box xtl="1"/></image></annotations>'), "holds 1 boxes or"),
    (("empty.xml", "<annotations/>"), "holds no landmarks"),
    (("empty.csv", "scorer,me,me\nbodyparts,a,a\ncoords,x,y\n"), "holds no landmarks"),
    (("empty.tps", "LM=0\nID=0\n"), "holds 1 boxes or other marks but no landmarks"),
    (("curve.tps", "LM=0\nCURVES=1\nPOINTS=2\n1 2\n3 4\n"), "holds 2 boxes or other marks"),
    # another number of landmarks, or other names
    (changed("coco.json", put("annotations", 1, "keypoints", [1, 2, 2])), "annotation 1: has 3 numbers, but .* are 9"),
    (changed("coco.json", put("annotations", 1, "keypoints", 2, 7)), "annotation 1: the visibility of 'left eye'"),
    (changed("coco.json", put("annotations", 1, "category_id", 9)), "annotation 1: its category_id is none"),
    (changed("coco.json", put("annotations", 1, "image_id", [9])), "annotation 1: its image_id is none"),
    (changed("coco.json", put("categories", 0, "skeleton", [[1, 9]])), "skeleton: .1, 9. is not a pair"),
    (changed("coco.json", put("categories", 0, "keypoints", ["a", "a", "b"])), "names must name each of the 3"),
    (changed("coco.json", two_categories), "categories 'mouse', 'cat', whose keypoints differ; give a file for each"),
    (changed("skeletons.xml", swap('label="tail"', 'label="tial"', 1)), "'tial' is none of the skeleton's points"),
    (changed("skeletons.xml", swap('label="tail"', 'label="left eye"', 1)), "'left eye' is marked twice"),
    (changed("several.xml", swap(";20.75,40.5", "")), "'b/c.png': has 3 landmarks, .*'a.jpg' 2; make them agree"),
    (changed("specimens.tps", swap("LM=3\n10.5 59.5", "LM=2")), "line 7: has 3 landmarks, .* line 1 2; make them"),
    (changed("studio.json", put(0, "annotations", 0, "result", 0, "value", "keypointlabels", ["x"])), "no object has"),
    (changed("studio.json", put(0, "annotations", 0, "result", 0, "value", "keypointlabels", [])), "has 0 labels"),
    (changed("labelme.json", put("shapes", 1, "label", "tail")), "'tail' is marked twice; mark it once"),
    (changed("labelme.json", put("shapes", 1, "points", [])), "not one labelled point"),
    (changed("labelme.json", put("shapes", 1, "points", [[1, None]])), "'1 None' is not a landmark"),
    (changed("animals.csv", swap("individuals,,,one,one", "individuals,,,two,two")), "one differ in their bodyparts"),
    (changed("one.csv", swap("tail,tail", "tail,nose")), "'tail' has not just one x and one y"),
    # another version, or another tool
    (changed("studio.json", put(0, "completions", [])), "task 0: is of Label Studio before 1.0"),
    (changed("studio.json", lambda raw: [{"data": {"image": "a.jpg"}, "predictions": [{}]}]), "predictions alone"),
    (changed("studio.json", put(0, "annotations", 0, "result", 0, "image_rotation", 90)), "turned in Label Studio"),
    (changed("skeletons.xml", swap(">1.1<", ">2.0<")), "has version '2.0' of CVAT's form; export as CVAT for images"),
    (("video.xml", '<annotations><version>1.1</version><track id="0"/></annotations>'), "is CVAT for video; export as"),
    (("voc.xml", "<annotation><object/></annotation>"), "is XML, but not CVAT's"),
    (("bomb.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>'), "declares a document type"),
    (
        changed("one.csv", swap("coords,x,y", "coords,x,likelihood")),
        "DeepLabCut's predictions .likelihood., not labels",
    ),
    (("3d.tps", "LM3=1\n1 2 3\nID=0\n"), "line 1: its landmarks have three coordinates"),
    # cut off, or damaged
    (("cut.json", json.dumps(coco_file())[:-9]), "line 1: not valid JSON"),
    (("cut.xml", cvat_skeletons()[:-9]), "line 2: not valid XML; export the file again"),
    (("cut.tps", "LM=3\n1 2\n"), "line 1: announces 3 landmarks but 1 follow"),
    (("more.tps", "LM=1\n1 2\n3 4\n"), "line 3: '3 4' is more than LM= announces"),
    (("text.tps", "LM=x\n1 2\n"), "line 1: 'x' is not a number of landmarks"),
    (("nan.tps", "LM=1\n1 nan\n"), "line 2: '1 nan' is not a landmark"),
    (("far.tps", "LM=2\n1 1e308\n1 1.5e308\n"), "too far away for any image"),
    (changed("one.csv", swap("10.0,20.0", "10.0,")), "line 4, 'left eye': '10.0 ' is not a landmark"),
    (changed("one.csv", swap(",40.0", "")), "line 4: has 6 cells but the header has 7"),
    (changed("one.csv", swap("bodyparts", "parts")), "is not DeepLabCut's whole header"),
    (changed("one.csv", swap("scorer", ' "scorer"')), "is not DeepLabCut's whole header"),
    (("quoted.csv", 'scorer",a,b\nbodyparts,c,c\ncoords,x,y\n0.png,1,2\n'), "is not DeepLabCut's whole header"),
    (changed("coco.json", put("annotations", 0, "keypoints", 0, float("nan"))), "'nan 20.0' is not a landmark"),
    (changed("coco.json", put("annotations", 0, "keypoints", 0, 10**400)), "is not a landmark"),
    (changed("coco.json", put("images", 0, "file_name", "\ud800.jpg")), "holds half a character"),
    (changed("coco.json", put("categories", 0, "keypoints", 0, "\udfff")), "names must name each"),
    (("digits.json", '{"images": [], "annotations": [' + "9" * 5000 + "]}"), "thousands of digits"),
    (("deep.json", '{"images": ' + "[" * 100_000), "nested too deeply"),
    (changed("single.xml", swap('points="10.5,20.5"', 'points="10.5"')), "'10.5' is not a landmark"),
    (("empty.xml", '<annotations><image><skeleton label="s"/></image></annotations>'), "holds no landmarks"),
    (("bare.csv", "scorer,\nbodyparts,\ncoords,\na.jpg,\n"), "its header names no bodyparts; correct it"),
]


@pytest.mark.parametrize(("file", "sentence"), BAD, ids=[f"{k}-{file[0]}" for k, (file, _) in enumerate(BAD)])
def test_what_cannot_be_used_gets_one_sentence(tmp_path: Path, file: tuple[str, Any], sentence: str):
    name, content = file
    with pytest.raises(BruleError, match=rf"{name}.*{sentence}") as error:
        read_shapes(write(tmp_path / name, content), nothing_known)
    assert "\n" not in str(error.value)


def test_label_studio_without_the_size_of_an_image_asks_for_it(tmp_path: Path):
    raw = studio_file()
    for mark in raw[0]["annotations"][0]["result"]:
        del mark["original_width"]
    path = write(tmp_path / "a.json", raw)
    np.testing.assert_allclose(read_shapes(path, sizes).points, POINTS)
    with pytest.raises(BruleError, match=r"task 0: does not tell the size of its image"):
        read_shapes(path)


def mangled(data: bytes, rng: random.Random) -> bytes:
    """Cut, noisy, with a hole, a repetition, or with other numbers and words at random places."""
    kind, at = rng.randrange(6), rng.randrange(len(data))
    if kind == 0:
        return data[:at]
    if kind == 1:
        noisy = bytearray(data)
        for _ in range(rng.choice((1, 3, 20))):
            noisy[rng.randrange(len(noisy))] = rng.randrange(256)
        return bytes(noisy)
    if kind == 2:
        return data[:at] + data[at + rng.randrange(40) :]
    if kind == 3:
        return data[:at] + data[max(0, at - 30) : at] + data[at:]
    words = ["null", "[]", "{}", "-1", "1e999", "NaN", "true", '"\\ud800"', "9" * 400, '""', ";", ",", "\0", "&#0;"]
    wanted = rng.choice(words).encode()
    spots = [k for k in range(len(data)) if data[k : k + 1].isdigit() or data[k : k + 1] in b'"[{']
    at = rng.choice(spots)
    return data[:at] + wanted + data[at + 1 :]


@pytest.mark.parametrize("name", WHOLE)
def test_nothing_but_a_sentence_escapes_from_a_mangled_file(tmp_path: Path, name: str):
    rng, whole = random.Random(name), WHOLE[name]()
    data = (whole if isinstance(whole, str) else json.dumps(whole)).encode()
    refused = 0
    for _ in range(300):
        path = tmp_path / name
        path.write_bytes(mangled(data, rng))
        try:
            read = read_shapes(path)
            assert np.isfinite(read.points).all()
            json.dumps([read.images, read.scheme and read.scheme.names], ensure_ascii=False).encode()
        except BruleError as error:
            assert "\n" not in str(error) or "\n" in path.read_text(errors="replace")
            refused += 1
    assert refused > 50


VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2.5, float("nan"), float("inf"), 10**400, "", "x", "3", "\ud800"),
    *([], {}, [1], [[1]], [[]], {"a": 1}, [None], [{}], ["a"]),
)


@pytest.mark.parametrize("name", ["coco.json", "studio.json", "short.json", "labelme.json"])
def test_any_value_in_any_place_of_a_json_gives_landmarks_or_a_sentence(tmp_path: Path, name: str):
    whole, places = json.loads(json.dumps(WHOLE[name]())), list[tuple[Any, Any]]()

    def visit(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                visit(node[key])

    visit(whole)
    for node, key in places[:: 1 + len(places) // 200]:
        right = node[key]
        for value in VALUES:
            node[key] = value
            try:
                recognised = recognise.read(write(tmp_path / name, whole), nothing_known)
                if recognised:
                    read_shapes(tmp_path / name)
            except BruleError:
                pass
        node[key] = right


# Proposals, and their way back.

FORMS = {"coco": coco, "cvat": cvat, "label-studio": labelstudio, "tps": tps}
words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).map(str.strip).filter(bool)


def corrected(form: str, text: str) -> str:
    """What Label Studio makes of a prediction that a person submits. The others' files are labels already."""
    if form != "label-studio":
        return text
    tasks = json.loads(text)
    return json.dumps([task | {"annotations": task.pop("predictions")} for task in tasks])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from(sorted(FORMS)))
def test_proposals_come_back_as_they_were_written(tmp_path: Path, data: st.DataObject, form: str):
    names = data.draw(st.lists(words.filter(lambda w: not w.isdecimal()), min_size=2, max_size=5, unique=True))
    scheme = Scheme(tuple(names), None, None, ((0, 1),) if form in ("coco", "cvat") else ())
    sides = data.draw(st.lists(st.tuples(st.integers(8, 4000), st.integers(8, 4000)), min_size=1, max_size=3))
    shares = st.lists(st.tuples(*[st.floats(0.01, 0.99)] * 2), min_size=len(names), max_size=len(names))
    proposals = [
        Proposal(f"{k} é & <{k}>/p.jpg", size, np.array(data.draw(shares)) * size - HALF, 0.5)
        for k, size in enumerate(sides)
    ]
    path = write(tmp_path / "proposals", corrected(form, FORMS[form].text(scheme, proposals)))
    by_name = {proposal.image: proposal.size for proposal in proposals}
    read = read_shapes(path, by_name.get)
    np.testing.assert_allclose(read.points, [proposal.points for proposal in proposals], atol=1e-3)
    assert read.images == tuple(by_name)
    assert read.sizes == tuple(by_name.values())
    if form != "tps":
        assert read.scheme and (read.scheme.names, read.scheme.edges) == (scheme.names, scheme.edges)


def test_label_studio_gets_no_point_beyond_the_image():
    proposal = Proposal("a.jpg", SIZE, np.array([[-9.0, 40], [200, 90]]), 0.3)
    result = json.loads(labelstudio.text(Scheme.plain("ab"), [proposal]))[0]["predictions"][0]["result"]
    assert [(mark["value"]["x"], mark["value"]["y"]) for mark in result] == [(0, 50.625), (100, 100)]
