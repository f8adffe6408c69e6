"""A landmark scheme: the landmarks' names, which of them a mirror swaps, and which pair normalises the error."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from brule.errors import BruleError

_SWAP = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class Scheme:
    """What the K columns of a landmark array mean."""

    names: tuple[str, ...]
    flip: tuple[int, ...] | None = None
    """Landmark k of a mirrored object is landmark flip[k] of the object. None: unknown, so nothing may be mirrored."""
    normaliser: tuple[int, int] | None = None
    """The pair whose distance divides the NME. None: the diagonal of the landmark box divides it."""
    edges: tuple[tuple[int, int], ...] = ()
    """Pairs that pictures join by a line."""

    def __post_init__(self) -> None:
        count = len(self.names)
        if not count or len(set(self.names)) != count:
            raise BruleError("landmark scheme: every landmark needs a name of its own; correct the names")
        if self.flip is not None and (
            sorted(self.flip) != list(range(count)) or any(self.flip[j] != k for k, j in enumerate(self.flip))
        ):
            raise BruleError("landmark scheme: flip does not swap pairs; flip[flip[k]] must be k")
        for pair in (*self.edges, *([self.normaliser] if self.normaliser else [])):
            if len(pair) != 2 or pair[0] == pair[1] or not all(0 <= index < count for index in pair):
                raise BruleError(
                    f"landmark scheme: {tuple(pair)} is not a pair of landmarks; use two of 0 to {count - 1}"
                )

    @classmethod
    def plain(cls, names: Iterable[str]) -> Self:
        """A scheme with names alone, and with what a mirror swaps if the names come in pairs of left and right."""
        names = tuple(names)
        return cls(names, mirrored(names))

    @classmethod
    def of(cls, landmarks: int, names: Sequence[str] | None = None) -> Self:
        """The scheme of K landmarks: iBUG's for 68 without other names, or else a plain one, by default "0" … "K-1"."""
        if landmarks == len(IBUG68.names) and (names is None or tuple(names) == IBUG68.names):
            return cls(IBUG68.names, IBUG68.flip, IBUG68.normaliser, IBUG68.edges)
        return cls.plain(names if names is not None else map(str, range(landmarks)))

    def to_json(self) -> dict[str, Any]:
        """A plain mapping, for json.dumps."""
        return {
            "names": list(self.names),
            "flip": None if self.flip is None else list(self.flip),
            "normaliser": None if self.normaliser is None else list(self.normaliser),
            "edges": [list(edge) for edge in self.edges],
        }

    @classmethod
    def from_json(cls, raw: Any) -> Self:
        """The inverse of `to_json`. Raises BruleError on anything else."""
        try:
            flip, pair = raw["flip"], raw["normaliser"]
            return cls(
                names=tuple(str(name) for name in raw["names"]),
                flip=None if flip is None else tuple(int(k) for k in flip),
                normaliser=None if pair is None else (int(pair[0]), int(pair[1])),
                edges=tuple((int(a), int(b)) for a, b in raw["edges"]),
            )
        except (KeyError, TypeError, ValueError, IndexError, OverflowError):
            raise BruleError("landmark scheme: not a mapping that brule wrote; run the stage before again") from None


def mirrored(names: Sequence[str]) -> tuple[int, ...] | None:
    """The permutation that swaps the words left and right in the landmarks' names. None if there is none."""
    swapped, lower = list(map(_other_side, names)), [name.lower() for name in names]
    if swapped == lower or sorted(swapped) != sorted(lower):
        return None
    return tuple(lower.index(name) for name in swapped)


def alone(names: Sequence[str]) -> list[str]:
    """The names that hold left or right, and whose partner of the other side is not among them."""
    lower = {name.lower() for name in names}
    return [name for name in names if _other_side(name) not in lower]


def _other_side(name: str) -> str:
    return "".join(_SWAP.get(word, word) for word in re.split(r"([^a-z]+)", name.lower()))


def _ibug68() -> Scheme:
    """The 68 points of the iBUG annotation, in its order. Left and right are the person's."""
    jaw = [f"jaw_right_{n}" for n in range(1, 9)] + ["chin"] + [f"jaw_left_{n}" for n in range(8, 0, -1)]
    arch = ["outer", "outer_middle", "middle", "inner_middle", "inner"]
    brows = [f"right_brow_{part}" for part in arch] + [f"left_brow_{part}" for part in reversed(arch)]
    ridge = ["nose_bridge_top", "nose_bridge_upper", "nose_bridge_lower", "nose_tip"]
    base = ["right_nostril_outer", "right_nostril_inner", "nose_base", "left_nostril_inner", "left_nostril_outer"]
    right_eye = ["outer_corner", "upper_outer", "upper_inner", "inner_corner", "lower_inner", "lower_outer"]
    left_eye = ["inner_corner", "upper_inner", "upper_outer", "outer_corner", "lower_outer", "lower_inner"]
    eyes = [f"right_eye_{part}" for part in right_eye] + [f"left_eye_{part}" for part in left_eye]
    upper = [f"upper_lip_{part}" for part in ("right_side", "right_peak", "middle", "left_peak", "left_side")]
    lower = [f"lower_lip_{part}" for part in ("left_side", "left_middle", "middle", "right_middle", "right_side")]
    outer = ["mouth_right_corner", *upper, "mouth_left_corner", *lower]
    above = ["right_corner", "upper_lip_right", "upper_lip_middle", "upper_lip_left"]
    below = ["left_corner", "lower_lip_left", "lower_lip_middle", "lower_lip_right"]
    inner = [f"inner_mouth_{part}" for part in (*above, *below)]
    names = (*jaw, *brows, *ridge, *base, *eyes, *outer, *inner)
    chains = [(0, 16), (17, 21), (22, 26), (27, 30), (31, 35)]
    rings = [(36, 41), (42, 47), (48, 59), (60, 67)]
    edges = [(k, k + 1) for first, last in (*chains, *rings) for k in range(first, last)]
    return Scheme(names, mirrored(names), (36, 45), (*edges, *((last, first) for first, last in rings)))


IBUG68 = _ibug68()
