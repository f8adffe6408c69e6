"""A detector file that was damaged at random loads and answers finite numbers, or is refused in one sentence."""

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from brule.data.schemes import Scheme
from brule.detector.model import Detector
from brule.detector.plausibility import Prior
from brule.detector.weights import HEAVIEST
from brule.errors import BruleError
from brule.networks.hourglass import LandmarkEncoder
from brule.stages.wording import trained_on

COUNT = 320
SIZES = {"stacks": 1, "width": 8, "depth": 1}
SCHEME = Scheme(("left eye", "right eye", "mouth"), (1, 0, 2), (0, 1), ((0, 1),))
TRAINING = {"mode": "unsupervised", "images": 9, "source": "discs", "shapes": 4}
PHOTO = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
VALUES: list[Any] = [
    *(None, True, 0, -1, 1, 3, 7, 10**9, 10**400, 0.5, 1e-300, 1e308, float("nan"), float("inf")),
    *("", "x" * 5000, "\x1b[2J\n", [], [[]], ["x"], {}, {"a": 1}, [0, 10**9], [1e400, -1], ["a"] * 5000),
]
NUMBERS = (float("nan"), float("inf"), 1e38, -1e38, 3 * HEAVIEST, 1e-45, 0.0)
DTYPES = (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool, torch.complex64)
SHAPES = ((), (0,), (1,), (2, 0, 3), (1, 1, 1, 1, 1), (200_000,))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small detector that knows all that a detector can know."""
    torch.manual_seed(0)
    encoder = LandmarkEncoder(3, 64, 16, **SIZES)
    encoder.heads[0].weight.data.mul_(40)
    shape = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.75]], np.float32)
    detector = Detector(encoder.eval(), shape, SCHEME, 64, 16, TRAINING, SIZES)
    shapes = shape + np.random.default_rng(1).normal(0, 0.04, (4, 3, 2))
    crops = np.random.default_rng(2).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("whole") / "detector.safetensors"
    detector.judged(crops, shapes).save(path)
    return path


def parts(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    raw = path.read_bytes()
    words = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]["brule"]
    return json.loads(words), load_file(path)


def cut(rng: random.Random, source: Path, target: Path) -> None:
    raw = source.read_bytes()
    target.write_bytes(raw[: rng.randrange(len(raw))] if rng.random() < 0.5 else raw + bytes(rng.randrange(1, 99)))


def flipped(rng: random.Random, source: Path, target: Path) -> None:
    """A few bytes of the header's length, of the header or of the tensors."""
    raw = bytearray(source.read_bytes())
    end = 8 + int.from_bytes(raw[:8], "little")
    place = rng.choice((range(9), range(8, end), range(end, len(raw)), range(end, len(raw))))
    for _ in range(rng.randint(1, 4)):
        raw[rng.choice(place)] = rng.randrange(256)
    target.write_bytes(raw)


def other_words(rng: random.Random, source: Path, target: Path) -> None:
    """A value of the header, at any depth, is another one or gone."""
    header, tensors = parts(source)
    holder: Any = header
    while True:
        key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        if not isinstance(holder[key], dict | list) or not holder[key] or rng.random() < 0.3:
            break
        holder = holder[key]
    if rng.random() < 0.2:
        del holder[key]
    else:
        holder[key] = rng.choice(VALUES)
    save_file(tensors, target, {"brule": json.dumps(header)})


def deep_words(rng: random.Random, source: Path, target: Path) -> None:
    header, tensors = parts(source)
    words = json.dumps(header | {rng.choice(list(header)): "HERE"})
    depth = rng.choice((50, 900, 100_000))
    save_file(tensors, target, {"brule": words.replace('"HERE"', "[" * depth + "]" * depth)})


def other_tensors(rng: random.Random, source: Path, target: Path) -> None:
    """One or two tensors have another type, shape, name or content."""
    header, tensors = parts(source)
    for _ in range(rng.randint(1, 2)):
        name = rng.choice(list(tensors))
        old = tensors.pop(name)
        what = rng.randrange(6)
        if what == 0:
            tensors[name] = old.to(rng.choice(DTYPES))
        elif what == 1:
            tensors[name] = torch.ones(rng.choice(SHAPES))
        elif what == 2:
            tensors[rng.choice(list(tensors))] = old
        elif what == 3:
            tensors[name] = torch.full_like(old, rng.choice(NUMBERS))
        elif what == 4:
            tensors[name] = old.clone()
            tensors[name].view(-1)[rng.randrange(old.numel())] = rng.choice(NUMBERS)
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, target, {"brule": json.dumps(header)})


DAMAGES: tuple[Callable[[random.Random, Path, Path], None], ...] = (
    *(cut, flipped, flipped, other_words, other_words, deep_words, other_tensors, other_tensors),
)


@pytest.mark.filterwarnings("ignore:Casting complex values")  # where the test itself makes one
def test_a_damaged_file_is_refused_in_one_sentence_or_answers_finite_numbers(whole: Path, tmp_path: Path) -> None:
    path, answered, refused = tmp_path / "mangled.safetensors", 0, 0
    for seed in range(COUNT):
        rng = random.Random(seed)
        damage = DAMAGES[seed % len(DAMAGES)]
        damage(rng, whole, path)
        case = f"{damage.__name__}, seed {seed}"
        try:
            detector = Detector.load(path)
            found = detector.predict(PHOTO, refine=rng.random() < 0.5)
            told = trained_on(detector)
        except BruleError as error:
            refused += 1
            sentence = str(error)
            assert sentence.startswith(f"{path}: ") and "; " in sentence, case
            assert sentence.isprintable() and len(sentence) < len(str(path)) + 250, case
            continue
        answered += 1
        assert np.isfinite(found.points).all() and np.isfinite(found.confidence).all(), case
        assert found.plausibility is None or math.isfinite(found.plausibility), case
        assert told.isprintable(), case
    assert answered > 40 and refused > 200, "both happen"


def test_weights_that_overflow_together_give_a_sentence_in_place_of_an_answer(whole: Path) -> None:
    detector = Detector.load(whole)
    for tensor in detector.encoder.state_dict().values():
        tensor.fill_(HEAVIEST)
    for judge in (detector.judge, None):
        with pytest.raises(BruleError, match="image 0: the detector gives no finite answer; its weights are damaged"):
            replace(detector, judge=judge).predict(PHOTO)


ABSURD: dict[str, Callable[[dict[str, Any]], object]] = {
    "a thousand million landmarks": lambda header: header.update(landmarks=10**9),
    "large images": lambda header: header.update(image_size=2**20, map_size=16),
    "large maps": lambda header: header.update(image_size=2**14, map_size=2**14),
    "wide layers on large maps": lambda header: header.update(
        image_size=1024, map_size=1024, encoder={**SIZES, "width": 4096}
    ),
    "a thousand million stacks": lambda header: header["encoder"].update(stacks=10**9),
    "a thousand million channels": lambda header: header["encoder"].update(width=10**9),
    "a thousand million halvings": lambda header: header["encoder"].update(depth=10**9),
    "maps that do not halve": lambda header: header.update(image_size=60, map_size=20),
    "much to tell": lambda header: header.update(training={"mode": "x" * 10**5}),
    "signs that change a terminal": lambda header: header.update(training={"mode": "\x1b[2J"}),
    "an endless lift": lambda header: header["framing"].update(lift=1e300),
    "a crop without end": lambda header: header["framing"].update(fill=1e-300),
}


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_sizes_in_the_header_are_refused(whole: Path, tmp_path: Path, name: str) -> None:
    header, tensors = parts(whole)
    ABSURD[name](header)
    save_file(tensors, tmp_path / "d.safetensors", {"brule": json.dumps(header)})
    with pytest.raises(BruleError, match=r"d\.safetensors: its header is damaged; give the path of a detector"):
        Detector.load(tmp_path / "d.safetensors")


def test_the_prior_of_the_fixture_is_one(whole: Path) -> None:
    judge = Detector.load(whole).judge
    assert judge is not None and isinstance(judge.prior, Prior) and len(judge.prior.variances)
