"""Videos: frames in order and upright, landmarks followed through them, and output files that are whole or absent."""

import csv
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from brule.cli import command
from brule.data.schemes import Scheme
from brule.detector import video
from brule.detector.model import Detector
from brule.detector.prediction import Prediction
from brule.detector.video import Frame, follow, frames, written
from brule.errors import BruleError
from brule.figures.grids import marked

av: Any = pytest.importorskip("av", reason="PyAV is not installed; pip install -e '.[dev]'")

HUES = np.eye(3, dtype=np.uint8) * 230
SHAPE = np.array([[-0.3, -0.2], [0.3, -0.2], [0.0, 0.3]])
SCHEME = Scheme(("left", "right", "low"), (1, 0, 2), (0, 1), ((0, 1),))
Run = Callable[..., tuple[int, str, str]]


class Hues(nn.Module):
    """Finds three discs by their hue: the further one channel stands out, the heavier a pixel weighs."""

    def __init__(self) -> None:
        super().__init__()
        self.ground = nn.Parameter(torch.tensor(1e-6), requires_grad=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        light = nn.functional.avg_pool2d(images + 1, 2)
        out = (light - (light.sum(1, keepdim=True) - light) - 0.5).relu()
        return [(out + self.ground).log()]


@pytest.fixture
def hues() -> Detector:
    return Detector(Hues(), np.full((3, 2), 0.5, np.float32), SCHEME, 64, 32)


def picture(centre: tuple[float, float], side: float, size: tuple[int, int] = (160, 120)) -> np.ndarray:
    """A red, a green and a blue disc at SHAPE, `side` pixels wide, on black."""
    y, x = np.mgrid[: size[1], : size[0]]
    pixels = np.zeros((*size[::-1], 3), np.uint8)
    for (px, py), hue in zip(centre + side * SHAPE, HUES, strict=True):
        pixels[(x - px) ** 2 + (y - py) ** 2 < (0.1 * side) ** 2] = hue
    return pixels


def path_of(count: int) -> np.ndarray:
    return np.linspace((55, 55), (105, 65), count)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    with written(tmp_path / "clip.mp4") as add:
        for number, centre in enumerate(path_of(12)):
            add(picture(tuple(centre), 60), number / 20)
    return tmp_path / "clip.mp4"


def test_what_is_written_is_read_again(clip: Path) -> None:
    found = list(frames(clip))
    assert [frame.number for frame in found] == list(range(12)) and video.length(clip) == 12
    np.testing.assert_allclose([frame.time for frame in found], np.arange(12) / 20, atol=1e-4)
    for frame, centre in zip(found, path_of(12), strict=True):
        assert frame.pixels.shape == (120, 160, 3)
        assert np.abs(frame.pixels.astype(int) - picture(tuple(centre), 60)).mean() < 3


def test_an_odd_picture_loses_its_last_row_and_column(tmp_path: Path) -> None:
    with written(tmp_path / "odd.mp4") as add:
        add(picture((40, 40), 40, (91, 71)), 0)
    assert next(iter(frames(tmp_path / "odd.mp4"))).pixels.shape == (70, 90, 3)


def test_a_film_from_a_turned_phone_is_upright(tmp_path: Path) -> None:
    upright = np.zeros((120, 80, 3), np.uint8)
    upright[:30] = 200  # light above
    with av.open(str(tmp_path / "turned.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 120, 80, "yuv420p"
        stream.set_display_rotation(-90)  # shown a quarter turn clockwise
        lying = np.ascontiguousarray(np.rot90(upright))  # a quarter turn counterclockwise
        container.mux(stream.encode(av.VideoFrame.from_ndarray(lying, format="rgb24")))
        container.mux(stream.encode(None))
    (frame,) = frames(tmp_path / "turned.mp4")
    assert frame.pixels.shape == (120, 80, 3)
    assert frame.pixels[:25].min() > 150 and frame.pixels[35:].max() < 50


def test_what_is_not_a_whole_video_gets_one_sentence(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "half.mp4").write_bytes(clip.read_bytes()[:1500])
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 44100
        container.mux([*stream.encode(silence), *stream.encode(None)])
    for name, sentence in {
        "none": "there is no such file",
        "text": "is not a whole video (",
        "half": "is not a whole video (",
        "sound": "has no pictures in it",
    }.items():
        with pytest.raises(BruleError) as caught:
            list(frames(tmp_path / f"{name}.mp4"))
        assert str(caught.value).startswith(f"{tmp_path / name}.mp4: {sentence}")
        assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(BruleError, match=r"need the library PyAV; run pip install -e '\.\[video\]'"):
        list(frames(clip))


def test_a_playlist_that_calls_itself_a_video_opens_no_other_file(clip: Path) -> None:
    other = clip.with_name("other.ts")
    with av.open(str(clip)) as source, av.open(str(other), "w", format="mpegts") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    for text in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{other}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile {other.name}\n",
    ):
        playlist = clip.with_name("list.mp4")
        playlist.write_text(text)
        with pytest.raises(BruleError, match=r"list\.mp4: is not a whole video"):
            list(frames(playlist))


def test_vast_frames_are_refused(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "LARGEST", 1000)
    with pytest.raises(BruleError, match=r"has frames of 160x120 pixels, but at most 1000 are decoded; reduce it"):
        list(frames(clip))


def seen(*pictures: np.ndarray) -> Iterator[Frame]:
    return (Frame(number, number / 20, pixels) for number, pixels in enumerate(pictures))


@pytest.mark.parametrize("smooth", [False, True])
def test_small_discs_are_followed_and_after_a_cut_found_again(hues: Detector, smooth: bool) -> None:
    """Near the rim, where the middle square's view is coarse and in part outside."""
    places = [(60.0 + 3 * k, 70.0) for k in range(6)] + [(150.0, 60.0)] * 3
    pictures = [picture(place, 40, (200, 130)) for place in places]
    found = [answer.points for _, answer in follow(hues, seen(*pictures), None, True, smooth)]
    for points, place in zip(found, places, strict=True):
        np.testing.assert_allclose(points, place + 40 * SHAPE, atol=2.5)


class Told:
    """A detector that answers one set of points near the last ones, and another anew."""

    def __init__(self, near: float, sureness: float, anew: float = 0.0) -> None:
        self.near, self.sureness, self.anew = near, sureness, anew

    def predict(self, pixels: np.ndarray, box: Any = None, refine: bool | None = None) -> Prediction:
        shift, sure = (self.anew, 0.5) if refine else (self.near, self.sureness)
        return Prediction(60 * SHAPE + 50 + shift, np.full(3, sure, np.float32), SCHEME.names)


@pytest.mark.parametrize("near, sureness, holds", [(3.0, 0.1, 3.0), (20.0, 0.4, 0.0), (20.0, 0.6, 20.0)])
def test_near_holds_unless_it_is_elsewhere_and_less_sure(near: float, sureness: float, holds: float) -> None:
    told: Any = Told(near, sureness)
    pictures = [np.zeros((120, 160, 3), np.uint8)] * 2
    first, second = (answer.points for _, answer in follow(told, seen(*pictures), None, True, False))
    np.testing.assert_allclose(first, 60 * SHAPE + 50)
    np.testing.assert_allclose(second, 60 * SHAPE + 50 + holds)


class Sure(Told):
    """Like Told, and knows how plausible its answers are; it counts how often it looked afresh."""

    def __init__(self, near: float, plausible: float, anew: float) -> None:
        super().__init__(0, 0.5, anew)
        self.step, self.plausible, self.searches = near, plausible, 0

    def predict(self, pixels: np.ndarray, box: Any = None, refine: bool | None = None) -> Prediction:
        self.searches += refine is None
        shift, plausible = (self.anew, 0.7) if refine is None else (self.step, self.plausible)
        return Prediction(60 * SHAPE + 50 + shift, np.full(3, 0.5, np.float32), SCHEME.names, plausible)


@pytest.mark.parametrize("near, plausible, searches, holds", [(3, 0.6, 1, 3), (30, 0.4, 2, 0), (3, 0.4, 2, 3)])
def test_a_frame_is_searched_only_when_the_object_is_lost(
    near: float, plausible: float, searches: int, holds: float
) -> None:
    sure: Any = Sure(near, plausible, 0)
    pictures = [np.zeros((120, 160, 3), np.uint8)] * 2
    _, second = (answer.points for _, answer in follow(sure, seen(*pictures), None, None, False))
    assert sure.searches == searches
    np.testing.assert_allclose(second, 60 * SHAPE + 50 + holds)


def test_smoothed_points_jitter_less_and_stay_near(hues: Detector) -> None:
    rng = np.random.default_rng(0)
    pictures = [picture((80, 60), 60) + rng.integers(0, 12, (120, 160, 1), dtype=np.uint8) for _ in range(25)]
    raw, calm = (
        np.stack([answer.points for _, answer in follow(hues, seen(*pictures), None, False, smooth)])
        for smooth in (False, True)
    )
    assert np.diff(calm, axis=0).std() < 0.5 * np.diff(raw, axis=0).std()
    np.testing.assert_allclose(calm[-1], raw.mean(0), atol=1)


def test_marks_lie_where_the_landmarks_are() -> None:
    plain = np.full((120, 160, 3), 128, np.uint8)
    points = np.array([[40.0, 30.0], [100.0, 30.0], [70.0, 90.0]])
    drawn = marked(plain, points, SCHEME)
    changed = np.argwhere((drawn != plain).any(-1))
    assert drawn.shape == plain.shape and (plain == 128).all()
    for x, y in points.astype(int):
        assert (drawn[y, x] != 128).any()
    assert (drawn[30, 70] != 128).any() and (drawn[60, 85] == 128).all(), "an edge is drawn, what is none is not"
    assert changed.min(0) == pytest.approx((28, 38), abs=1.5) and changed.max(0) == pytest.approx((92, 102), abs=1.5)
    np.testing.assert_array_equal(marked(plain, points + 1000, SCHEME), plain)


@pytest.fixture
def run(hues: Detector, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["brule", "predict", *arguments])
        monkeypatch.setattr(Detector, "load", lambda path, device: hues)
        with pytest.raises(SystemExit) as exit_:
            command.main()
        shown = capsys.readouterr()
        return int(exit_.value.code or 0), shown.out, shown.err

    return call


def test_the_command_answers_every_frame(run: Run, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    assert run(str(clip), "--no-refine", "--unsmoothed", "--overlay", "--out", str(out))[0] == 0
    rows = list(csv.DictReader((out / "clip.mp4.csv").open()))
    assert [row["name"] for row in rows[:3]] == list(SCHEME.names) and len(rows) == 36
    assert [int(row["frame"]) for row in rows[::3]] == list(range(12)) and float(rows[3]["time"]) == 0.05
    found = np.array([[float(row["x"]), float(row["y"])] for row in rows]).reshape(12, 3, 2)
    np.testing.assert_allclose(found, path_of(12)[:, None] + 60 * SHAPE, atol=2)
    overlay = list(frames(out / "clip.mp4"))
    assert [frame.time for frame in overlay] == [frame.time for frame in frames(clip)]
    assert len(overlay) == 12
    for drawn, frame, points in zip(overlay, frames(clip), found, strict=True):
        expected = marked(frame.pixels, points, SCHEME).astype(int)
        assert np.abs(drawn.pixels - expected).mean() < 3 < np.abs(frame.pixels - expected).max()
    assert {path.name for path in out.iterdir()} == {"clip.mp4.csv", "clip.mp4"}


def test_two_videos_of_one_name_are_reported_but_not_a_photo_of_that_name(run: Run, clip: Path, tmp_path: Path) -> None:
    (other := tmp_path / "other" / clip.name).parent.mkdir()
    other.write_bytes(clip.read_bytes())
    photo = other.with_suffix(".png")
    Image.new("RGB", (80, 80)).save(photo)
    out = tmp_path / "found"
    code, _, error = run(str(clip), str(photo), str(other), "--overlay", "--out", str(out))
    assert code == 1 and f"{other}: {clip} has the same place below --out" in error
    assert {path.name for path in out.iterdir()} == {"clip.mp4.csv", "clip.mp4", "clip.png", "landmarks.csv"}


def test_the_table_is_the_same_on_stdout_and_as_json(run: Run, clip: Path) -> None:
    _, text, _ = run(str(clip))
    code, told, _ = run(str(clip), "--format", "json")
    rows = list(csv.DictReader(text.splitlines()))
    records = [
        {"frame": one["frame"], "time": one["time"], "plausibility": None, **landmark}
        for one in json.loads(told)
        for landmark in one["landmarks"]
    ]
    assert code == 0 and len(rows) == 36
    for row, record in zip(rows, records, strict=True):
        assert {key: float(v) if key != "name" and v else v or None for key, v in row.items()} == record


def test_a_broken_video_is_reported_and_leaves_nothing(run: Run, clip: Path, tmp_path: Path) -> None:
    whole, torn = clip.read_bytes(), tmp_path / "films" / "torn.mp4"
    torn.parent.mkdir()
    torn.write_bytes(whole[: len(whole) // 2])
    (torn.parent / "good.mp4").write_bytes(whole)
    out = tmp_path / "found"
    code, _, error = run(f"{torn.parent}/*.mp4", "--overlay", "--out", str(out))
    assert code == 1 and f"{torn}: is not a whole video (" in error and "Traceback" not in error
    assert {path.name for path in out.iterdir()} == {"good.mp4.csv", "good.mp4"}
    code, _, error = run(str(clip), "--format", "pts", "--out", str(out))
    assert code == 1 and "a .pts has no room for the frames of a video" in error
    code, _, error = run(str(clip), "--format", "coco", "--out", str(out))
    assert code == 1 and "a file of coco has no room for the frames of a video; give --format csv" in error
    code, _, error = run(str(clip), "--box", "0", "0", "9999", "9999", "--out", str(out))
    assert code == 1 and f"{clip}, frame 0: the object lies outside the image" in error
    code, _, error = run(str(clip), str(torn))
    assert code == 2 and "give --out DIR" in error
