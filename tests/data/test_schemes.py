"""A scheme knows what a mirror swaps."""

import json

import pytest

from brule.data.schemes import IBUG68, Scheme, mirrored
from brule.errors import BruleError

# The permutation as the literature prints it, pairs of iBUG's points counted from 1.
PAIRS = [
    *[(k, 18 - k) for k in range(1, 9)],
    *[(18 + k, 27 - k) for k in range(5)],
    *[(32, 36), (33, 35)],
    *[(37, 46), (38, 45), (39, 44), (40, 43), (41, 48), (42, 47)],
    *[(49, 55), (50, 54), (51, 53), (60, 56), (59, 57)],
    *[(61, 65), (62, 64), (68, 66)],
]


def test_ibug_has_68_different_names_and_the_known_corners():
    assert len(set(IBUG68.names)) == 68
    named = {IBUG68.names[k]: k for k in range(68)}
    assert named["chin"] == 8
    assert named["nose_tip"] == 30
    assert (named["right_eye_outer_corner"], named["left_eye_outer_corner"]) == (36, 45) == IBUG68.normaliser
    assert (named["mouth_right_corner"], named["mouth_left_corner"]) == (48, 54)


def test_ibug_s_mirror_is_the_published_one():
    expected = list(range(68))
    for a, b in PAIRS:
        expected[a - 1], expected[b - 1] = b - 1, a - 1
    assert list(IBUG68.flip or ()) == expected


def test_mirroring_twice_is_nothing_and_keeps_the_edges():
    flip = IBUG68.flip
    assert flip is not None
    assert [flip[flip[k]] for k in range(68)] == list(range(68))
    edges = {frozenset(edge) for edge in IBUG68.edges}
    assert {frozenset(flip[k] for k in edge) for edge in edges} == edges
    assert set().union(*edges) == set(range(68))


@pytest.mark.parametrize(
    ("names", "flip"),
    [
        (("left_eye", "right_eye", "nose"), (1, 0, 2)),
        (("Left Ear", "nose", "Right Ear"), (2, 1, 0)),
        (("left_eye", "nose"), None),
        (("bright_spot", "cleft"), None),
        (("0", "1"), None),
    ],
)
def test_a_mirror_is_read_from_names(names, flip):
    assert mirrored(names) == flip == Scheme.plain(names).flip


def test_the_scheme_of_a_number_of_landmarks():
    assert Scheme.of(68) == IBUG68
    assert Scheme.of(3).names == ("0", "1", "2")
    assert Scheme.of(2, ["a", "b"]).names == ("a", "b")
    assert Scheme.of(68, [f"p{k}" for k in range(68)]).flip is None


@pytest.mark.parametrize("scheme", [IBUG68, Scheme.plain(["a", "b"])])
def test_json_round_trip(scheme):
    assert Scheme.from_json(json.loads(json.dumps(scheme.to_json()))) == scheme


@pytest.mark.parametrize("raw", [None, {}, [], {"names": ["a"], "flip": 3, "normaliser": None, "edges": []}])
def test_json_that_is_not_a_scheme(raw):
    with pytest.raises(BruleError, match="landmark scheme: "):
        Scheme.from_json(raw)


@pytest.mark.parametrize(
    "fields",
    [
        {"names": ()},
        {"names": ("a", "a")},
        {"names": ("a", "b", "c"), "flip": (1, 2, 0)},
        {"names": ("a", "b"), "flip": (0,)},
        {"names": ("a", "b"), "normaliser": (0, 2)},
        {"names": ("a", "b"), "edges": ((1, 1),)},
    ],
)
def test_a_scheme_that_contradicts_itself(fields):
    with pytest.raises(BruleError, match="landmark scheme: "):
        Scheme(**fields)
