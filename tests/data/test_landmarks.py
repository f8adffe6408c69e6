"""Landmarks survive every file format, and what is not a landmark is named by file and line."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from brule.data.forms import own_json
from brule.data.labels import Labels, Points
from brule.data.landmarks import read_shapes
from brule.data.pts import format_pts, read_pts
from brule.data.schemes import Scheme
from brule.errors import BruleError

TRIANGLE = np.array([[0.0, 0.0], [10.0, 0.5], [5.0, 7.25]])


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def named(labels: Labels) -> tuple[list[str] | None, Points]:
    return list(labels.scheme.names) if labels.scheme else None, labels.points


def test_pts_round_trip(tmp_path: Path):
    write(tmp_path / "a.pts", format_pts(TRIANGLE))
    np.testing.assert_array_equal(read_pts(tmp_path / "a.pts"), TRIANGLE)


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\nn_points:  2\n{\n1.5 2\n11 1e1\n}\n",
        "version: 1\r\nn_points: 2\r\n{\r\n1.5 2\r\n11 1e1\r\n}\r\n",
        "1.5 2\n11 1e1",
        "\ufeff1.5\t2 \n\n  11   1e1\n\n",
        "n_points: 2\n{ \n1.5 2\n11 1e1\n} ",
    ],
)
def test_pts_with_and_without_header_count_from_one(tmp_path: Path, text: str):
    np.testing.assert_allclose(read_pts(write(tmp_path / "a.pts", text)), [[0.5, 1], [10, 9]])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds no landmarks"),
        ("version: 1\nn_points: 0\n{\n}\n", "holds no landmarks"),
        ("n_points: 3\n{\n1 2\n3 4\n}", "announces n_points: 3 but holds 2"),
        ("n_points: x\n{\n1 2\n}", "announces n_points: x but holds 1"),
        ("1 2\n3\n", r"line 2: '3' is not a landmark"),
        ("1 2\n3 4 5\n", r"line 2: '3 4 5' is not a landmark"),
        ("1 2\nnan 4\n", r"line 2: 'nan 4' is not a landmark"),
        ("1 2\n3 inf\n", r"line 2: '3 inf' is not a landmark"),
        ("version: 1\n{\n1 2\nx y\n}", r"line 4: 'x y' is not a landmark"),
        ("\x89PNG\r\n", r"line 1: "),
    ],
)
def test_pts_garbage_gets_one_sentence_with_the_place(tmp_path: Path, text: str, sentence: str):
    with pytest.raises(BruleError, match=rf"a\.pts.*{sentence}") as error:
        read_pts(write(tmp_path / "a.pts", text))
    assert "\n" not in str(error.value)


def test_pts_of_random_bytes_and_missing(tmp_path: Path):
    (tmp_path / "a.pts").write_bytes(np.random.default_rng(0).bytes(500))
    with pytest.raises(BruleError, match=r"a\.pts, line 1: "):
        read_pts(tmp_path / "a.pts")
    with pytest.raises(BruleError, match=r"b\.pts: does not exist"):
        read_pts(tmp_path / "b.pts")


def many(tmp_path: Path) -> Path:
    for number in range(3):
        (tmp_path / "s" / "deep").mkdir(parents=True, exist_ok=True)
        write(tmp_path / "s" / "deep" / f"{number}.pts", format_pts(TRIANGLE + number))
    return tmp_path / "s"


def test_shapes_from_a_folder_a_zip_a_tar_and_one_file(tmp_path: Path):
    folder = many(tmp_path)
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as packed:
        for path in folder.rglob("*.pts"):
            packed.write(path, path.relative_to(tmp_path))
    with tarfile.open(tmp_path / "s.tar.gz", "w:gz") as packed:
        packed.add(folder, "s")
    expected = np.stack([TRIANGLE, TRIANGLE + 1, TRIANGLE + 2])
    for path in (folder, tmp_path / "s.zip", tmp_path / "s.tar.gz"):
        names, shapes = named(read_shapes(path))
        assert names is None
        np.testing.assert_array_equal(shapes, expected)
    np.testing.assert_array_equal(read_shapes(folder / "deep" / "1.pts").points, expected[1:2])


LONG = "shape,name,x,y\n1,tip,0,0\n1,wing,10,0.5\n1,tail,5,7.25\n2,tail,5,7.25\n2,tip,0,0\n2,wing,10,0.5\n"
NAMED = "image;tip_x;tip_y;wing_x;wing_y;tail_x;tail_y\na;0;0;10;.5;5;7.25\nb;0;0;10;0.5;5;7.25\n"
COUNTED = "x0,y0,x1,y1,x2,y2\n0,0,10,0.5,5,7.25\n\n0,0,10,0.5,5,7.25\n"
JSON = json.dumps({"names": ["tip", "wing", "tail"], "shapes": [TRIANGLE.tolist()] * 2})


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("a.csv", LONG, ["tip", "wing", "tail"]),
        ("a.csv", "\ufeff" + LONG.replace("\n", "\r\n"), ["tip", "wing", "tail"]),
        ("a.csv", NAMED, ["tip", "wing", "tail"]),
        ("a.csv", COUNTED, None),
        ("a.json", JSON, ["tip", "wing", "tail"]),
        ("a.JSON", json.dumps({"shapes": [TRIANGLE.tolist()] * 2}), None),
    ],
)
def test_shapes_from_csv_and_json(tmp_path: Path, name, text, names):
    found, shapes = named(read_shapes(write(tmp_path / name, text)))
    assert found == names
    np.testing.assert_array_equal(shapes, np.stack([TRIANGLE] * 2))


def test_numbered_landmarks_count_in_whatever_order_a_table_has_them(tmp_path: Path):
    order = sorted(range(12), key=str)  # 0, 1, 10, 11, 2, …
    expected = np.arange(24.0).reshape(1, 12, 2)
    wide = ",".join(f"x{k},y{k}" for k in order) + "\n" + ",".join(f"{2 * k},{2 * k + 1}" for k in order) + "\n"
    long = "shape,name,x,y\n" + "".join(f"a,{k},{2 * k},{2 * k + 1}\n" for k in order)
    for text in (wide, long):
        np.testing.assert_array_equal(read_shapes(write(tmp_path / "a.csv", text)).points, expected)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.csv", "", "holds no shapes"),
        ("a.csv", "x0,y0,x0,y0\n1,2,3,4\n", "line 1: the column 'x0' stands there twice; remove one"),
        ("a.csv", "shape,name,x,y,x\n1,tip,0,0,0\n", "line 1: the column 'x' stands there twice; remove one"),
        ("a.csv", "x0,y0\n", "holds no shapes"),
        ("a.csv", "x0,y0\n1,2,3\n", "line 2: has 3 cells but the header has 2"),
        ("a.csv", "x0,y0\n1,2\n1,\n", "line 3: '1 ' is not a landmark"),
        ("a.csv", "x0,y0\n1,nan\n", "line 2: '1 nan' is not a landmark"),
        ("a.csv", "x0,y0,x1\n1,2,3\n", "line 1: the landmark '1' has only one of x and y"),
        ("a.csv", "1,2\n3,4\n", "line 1: '1' is not a landmark"),
        ("a.csv", "shape\n1\n", "line 1: names no landmark"),
        ("a.csv", "shape,name,x,y\n1,tip,0,0\n2,tip,0,0\n2,tail,1,1\n", "shape '1' lacks the landmark 'tail'"),
        ("a.csv", "shape,name,x,y\n1,tip,0,0\n1,tip,0,0\n", "line 3: shape '1' has 'tip' twice"),
        ("a.csv", 'x0,y0\n1,"2\n' + "3,4\n" * 60000, "line 2: a quotation mark is never closed"),
        ("a.json", "{", "line 1: not valid JSON"),
        ("a.json", "[" * 100000, "is nested too deeply"),
        ("a.json", "[]", "holds no shapes"),
        ("a.json", '{"shapes": []}', "holds no shapes"),
        ("a.json", '{"shapes": [[]]}', "shape 0 is not a list"),
        ("a.json", '{"shapes": [[[1, 2], [3]]]}', "shape 0: '3' is not a landmark"),
        ("a.json", '{"shapes": [[[1, NaN]]]}', "shape 0: '1 nan' is not a landmark"),
        ("a.json", '{"shapes": [[[1, null]]]}', "shape 0: '1 None' is not a landmark"),
        ("a.json", '{"shapes": [[[1, 2]], [[1, 2], [3, 4]]]}', "shape 1 has 2 landmarks, not 1"),
        ("a.json", '{"names": ["a", "a"], "shapes": [[[1, 2], [3, 4]]]}', "names must name each"),
        ("a.json", '{"names": "ab", "shapes": [[[1, 2], [3, 4]]]}', "names is not a list"),
        ("a.json", '{"names": ["a", null], "shapes": [[[1, 2], [3, 4]]]}', "names must name each"),
        ("a.txt", "1 2", "not a file of landmark shapes; give a folder"),
    ],
)
def test_what_is_not_a_shape_gets_one_sentence(tmp_path: Path, name, text, sentence):
    with pytest.raises(BruleError, match=rf"{name}.*{sentence}") as error:
        read_shapes(write(tmp_path / name, text))
    assert "\n" not in str(error.value)


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path):
    for place in ("a.pts", ".b.pts", ".checkpoints/c.pts", "__MACOSX/d.pts"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        write(tmp_path / place, format_pts(TRIANGLE))
    assert len(read_shapes(tmp_path).points) == 1


def test_folders_that_hold_no_equal_shapes(tmp_path: Path):
    with pytest.raises(BruleError, match=r"holds no \.pts file"):
        read_shapes(tmp_path)
    folder = many(tmp_path)
    write(folder / "z.pts", format_pts(TRIANGLE[:2]))
    with pytest.raises(BruleError, match=r"z\.pts: has 2 landmarks, most have 3"):
        read_shapes(folder)
    write(folder / "y.pts", "1 2\n3 x")
    with pytest.raises(
        BruleError, match=rf"^2 faults in {folder}: \(1\) y\.pts, line 2: .*; \(2\) z\.pts: has 2 landm"
    ):
        read_shapes(folder)


@pytest.mark.parametrize("name", ["shapes.json", "shapes.csv"])
def test_a_folder_may_hold_one_file_of_shapes(tmp_path: Path, name: str):
    text = json.dumps({"shapes": [TRIANGLE.tolist()]}) if name == "shapes.json" else "x0,y0,x1,y1\n1,2,3,4\n"
    write(tmp_path / name, text)
    write(tmp_path / "notes.txt", "of something else")
    np.testing.assert_equal(read_shapes(tmp_path).points, read_shapes(tmp_path / name).points)
    write(tmp_path / f"more.{name.partition('.')[2]}", text)
    with pytest.raises(BruleError, match=r"holds no \.pts file"):
        read_shapes(tmp_path)


def test_faults_in_an_archive_of_shapes_name_the_archive(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as packed:
        for name, text in {"a.pts": "1 2\n3 4", "b.pts": "1 2\n3 x", "c.pts": "1 2\n3"}.items():
            packed.writestr(name, text)
    with pytest.raises(BruleError) as error:
        read_shapes(tmp_path / "s.zip")
    told = str(error.value)
    assert told.startswith(f"2 faults in {tmp_path / 's.zip'}: (1) b.pts, line 2: ") and "; (2) c.pts, line 2: " in told


def test_an_archive_of_shapes_cannot_climb_out(tmp_path: Path):
    with tarfile.open(tmp_path / "s.tar", "w") as packed:
        member = tarfile.TarInfo("../evil.pts")
        member.size = 4
        packed.addfile(member, io.BytesIO(b"1 2\n"))
    with pytest.raises(BruleError, match="points outside"):
        read_shapes(tmp_path / "s.tar")
    assert not list(tmp_path.rglob("evil.pts"))


def test_a_table_as_spreadsheets_write_unicode_text(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes("x0\ty0\n1\t2\n".encode("utf-16"))
    assert read_shapes(tmp_path / "a.csv").points.tolist() == [[[1, 2]]]


def test_json_says_edges_pairs_and_normaliser_by_name_or_index(tmp_path: Path):
    raw = json.loads(JSON) | {
        "edges": [["tip", "wing"], [1, 2]],
        "pairs": [["wing", "tail"]],
        "normaliser": [0, "tail"],
    }
    read = read_shapes(write(tmp_path / "a.json", json.dumps(raw)))
    assert read.scheme == Scheme(("tip", "wing", "tail"), (0, 2, 1), (0, 2), ((0, 1), (1, 2)))
    raw |= {"pairs": [], "images": ["a.jpg", "b.jpg"], "sizes": [[20, 10], [20, 12]]}
    read = read_shapes(write(tmp_path / "a.json", json.dumps(raw)))
    assert read.scheme and read.scheme.flip is None
    assert (read.images, read.sizes) == (("a.jpg", "b.jpg"), ((20, 10), (20, 12)))


def test_what_the_json_says_survives_writing(tmp_path: Path):
    scheme = Scheme(("tip", "wing", "tail"), (0, 2, 1), (0, 2), ((0, 1),))
    labels = Labels(np.stack([TRIANGLE] * 2), scheme, ("a.jpg", "b.jpg"), ((20, 10), (20, 12)))
    read = read_shapes(write(tmp_path / "a.json", json.dumps(own_json.mapping(labels))))
    assert (read.scheme, read.images, read.sizes) == (scheme, labels.images, labels.sizes)
    np.testing.assert_array_equal(read.points, labels.points)


def test_pairs_of_landmarks_that_names_do_not_show_are_taken(tmp_path: Path):
    raw = {"shapes": [TRIANGLE.tolist()], "pairs": [[1, 2]]}
    scheme = read_shapes(write(tmp_path / "a.json", json.dumps(raw))).scheme
    assert scheme == Scheme(("0", "1", "2"), (0, 2, 1))


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"edges": [["tip", "nose"]]}, "edges: .*nose.* is not a pair of landmarks"),
        ({"edges": [[0, 3]]}, "edges: .* is not a pair"),
        ({"edges": [[0, 0]]}, "edges: .* is not a pair"),
        ({"edges": [["tip", 0]]}, "edges: .* is not a pair"),
        ({"edges": 7}, "edges: 7 is not a pair"),
        ({"edges": [[[0], 1]]}, "edges: .* is not a pair"),
        ({"normaliser": [1]}, "normaliser: .* is not a pair"),
        ({"pairs": [[0, 1], [1, 2]]}, "pairs: a landmark stands in two pairs"),
        ({"images": ["a.jpg"]}, "images does not name the image of each of the 2 shapes"),
        ({"images": [1, 2]}, "images does not name"),
        ({"sizes": [[1, 2], [0, 3]]}, "sizes is not the .width, height. of each of the 2 shapes"),
        ({"sizes": 3}, "sizes is not"),
    ],
)
def test_what_json_says_amiss_is_told(tmp_path: Path, more, sentence):
    with pytest.raises(BruleError, match=rf"a\.json: {sentence}"):
        read_shapes(write(tmp_path / "a.json", json.dumps(json.loads(JSON) | more)))
