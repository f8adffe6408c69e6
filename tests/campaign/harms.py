"""What can happen to a file: to its bytes, to its numbers and words, and to the tree that it holds."""

import copy
import json
import random
import re
from collections.abc import Callable
from typing import Any

BLOCK = 4096
NUMBERS = [
    *("0", "-1", "1e308", "-1e-320", "1e999", "nan", "NaN", "inf", "2147483648", "1.5", "٣", "1_0", "0x10", "--1", ""),
    "9" * 400,
]
WORDS = [
    *("null", "../../etc/passwd", "/etc/passwd", "'", '"', "<", "&a;", "{", "-", "\x00", "", "é\u0301", "\u202e"),
    "x" * 5000,
]
OTHERS = [
    *(b"", b"\n", b"\x00" * 9999, b"<html><body>404</body></html>", b"PK\x05\x06" + bytes(18), b"[" * 99_999),
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 60 44\n%%EndComments\nshowpage\n",
]
VALUES: list[Any] = [
    *(None, True, -1, 0, 1e308, float("nan"), float("inf"), 10**400, 2**63, "", "x" * 5000, "\ud800", "7", "\n"),
    *([], {}, [[]], [[[]]], {"": 0}, [None], "../up.jpg", "/etc/passwd", {"x": {"y": 1}}, [0] * 2000, "a\tb"),
]


def hurt(data: bytes, rng: random.Random) -> bytes:
    """The file after one mishap or several."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(HARMS)(data, rng)
    return data


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _headless(data: bytes, rng: random.Random) -> bytes:
    return data[rng.randrange(min(len(data), 64) + 1) :]


def _flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 20)) if changed else 0):
        changed[rng.randrange(rng.choice((min(64, len(changed)), len(changed))))] = rng.randrange(256)
    return bytes(changed)


def _hole(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + bytes(min(BLOCK, len(data) - start)) + data[start + BLOCK :]


def _doubled(data: bytes, rng: random.Random) -> bytes:
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:end] + data[start:end][:BLOCK] + data[end:]


def _swapped(data: bytes, rng: random.Random) -> bytes:
    a, b, c = sorted(rng.randrange(len(data) + 1) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _stuffed(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + rng.randbytes(rng.choice((1, 8, 300))) + data[start:]


def _recoded(data: bytes, rng: random.Random) -> bytes:
    text = data.decode("latin-1")
    kinds = (b"\xef\xbb\xbf" + data, text.encode("utf-16"), text.encode("utf-32"), data + b"\xff\xfe", data.upper())
    return rng.choice((*kinds, data.replace(b"\n", b"\r"), data.replace(b"\n", b"\r\n"), data.replace(b"\n", b"\n\n")))


def _replaced(pattern: bytes, odd: list[str]) -> Callable[[bytes, random.Random], bytes]:
    def replace(data: bytes, rng: random.Random) -> bytes:
        if found := list(re.finditer(pattern, data[:100_000])):
            one = rng.choice(found)
            data = data[: one.start()] + rng.choice(odd).encode("utf-8", "surrogatepass") + data[one.end() :]
        return data

    return replace


def _lined(data: bytes, rng: random.Random) -> bytes:
    """A line lost, doubled, or moved to the end."""
    lines = data.splitlines(keepends=True)
    if len(lines) > 1:
        line = lines.pop(rng.randrange(len(lines)))
        lines += rng.choice(([], [line], [line, line]))
    return b"".join(lines)


def _other(data: bytes, rng: random.Random) -> bytes:
    """Something else under this name."""
    return rng.choice(OTHERS)


HARMS = [
    *(_cut, _cut, _headless, _flipped, _flipped, _hole, _doubled, _swapped, _stuffed, _recoded, _lined, _other),
    *([_replaced(rb"-?\d+\.?\d*", NUMBERS)] * 3),
    *([_replaced(rb"[A-Za-z_]{2,}", WORDS)] * 2),
]


def hurt_tree(tree: Any, rng: random.Random) -> Any:
    """A tree as JSON and YAML hold them, with some nodes replaced, dropped, doubled or renamed."""
    tree = json.loads(json.dumps(tree))
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        holders = [node for node in _nodes(tree) if node]
        if not holders:
            return copy.deepcopy(rng.choice(VALUES))
        holder = rng.choice(holders)
        key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
        match rng.randrange(6):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[rng.choice(WORDS)] = holder.pop(key)
            case 1 | 2 if isinstance(holder, list):
                holder.append(holder[key])
            case _:
                holder[key] = copy.deepcopy(rng.choice(VALUES))  # the next mishap may befall it
    return tree


def _nodes(tree: Any) -> list[Any]:
    """Every list and mapping of a tree."""
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    own = [tree] if isinstance(tree, dict | list) else []
    return own + [node for child in children for node in _nodes(child)]
