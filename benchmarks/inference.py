"""How long a detector takes from crops in memory to points in memory: torch, torch in bfloat16, and ONNX Runtime.

The candidates take turns in one process, and each figure is a median over the turns: the ratios hold on a busy machine
too, the milliseconds only on a quiet one. Without a trained detector an untrained one of the same size is timed.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import report
import torch
from PIL import Image

from brule import config, files
from brule import terminal as entry
from brule.data.crop import around, cut
from brule.data.schemes import IBUG68
from brule.detector.model import Detector
from brule.detector.onnx import to_onnx
from brule.networks.hourglass import LandmarkEncoder
from brule.synthetic import render

README = Path(__file__).parent / "README.md"
BATCHES = (1, 32)
WARM_UP = 2  # turns that are not counted: they allocate
HEAD = ("candidate", "batch 1, ms", "ratio", "batch 32, ms", "ratio", "largest distance, px", "mean distance, px")

Crops = npt.NDArray[np.uint8]
Candidate = Callable[[Crops], npt.NDArray[np.float32]]


def candidates(detector: Detector, threads: int) -> dict[str, Candidate]:
    """name → crops (N, S, S, 3) to points (N, K, 2); the first is what the others are compared with."""

    def narrow(crops: Crops) -> npt.NDArray[np.float32]:
        with torch.autocast("cpu", torch.bfloat16):
            return detector.points(crops)

    session = started(detector, threads)
    return {
        "torch, float32": detector.points,
        "torch, bfloat16 autocast": narrow,
        "ONNX Runtime": lambda crops: session.run(["points"], {"images": crops})[0],
    }


def started(detector: Detector, threads: int) -> onnxruntime.InferenceSession:
    """The exported detector, ready to run. Its threads rest between its turns, which are another candidate's."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "detector.onnx"
        to_onnx(detector, path)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def turn_about(functions: dict[str, Candidate], crops: Crops, repeats: int) -> dict[str, float]:
    """Median seconds of each. In its turn a candidate runs twice, and the second time counts: its data are at hand
    again, and the threads of the one before have come to rest."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(WARM_UP + repeats):
        for name, function in functions.items():
            function(crops)
            start = time.perf_counter()
            function(crops)
            if turn >= WARM_UP:
                times[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times.items()}


def distances(functions: dict[str, Candidate], crops: Crops) -> dict[str, tuple[float, float]]:
    """How far each candidate's points are from the first one's, pixels of the crop: the largest distance, the mean."""
    points = {name: function(crops) for name, function in functions.items()}
    first = next(iter(points.values()))
    apart = {name: crops.shape[1] * np.linalg.norm(found - first, axis=-1) for name, found in points.items()}
    return {name: (float(each.max()), float(each.mean())) for name, each in apart.items()}


def faces(detector: Detector, count: int) -> Crops:
    """Rendered faces, cut as the detector's training crops were, (count, S, S, 3)."""
    crops = []
    for index in range(count):
        picture, points = render(1_000_000, index, 2 * detector.image_size)
        crops.append(cut(Image.fromarray(picture), around(points, *detector.framing), detector.image_size))
    return np.stack(crops)


def untrained(parameters: config.Config) -> Detector:
    """A detector of the parameters' size with random weights."""
    torch.manual_seed(0)
    image, model = parameters.prepare.image_size, parameters.model
    K = len(IBUG68.names)
    encoder = LandmarkEncoder(K, image, model.map_size, **model.encoder.model_dump()).eval().requires_grad_(False)
    return Detector(encoder, np.full((K, 2), 0.5, np.float32), IBUG68, image, model.map_size)


def measure(detector: Detector, threads: int, repeats: int) -> dict[str, Any]:
    """Everything the report shows, in seconds and in pixels of the crop."""
    torch.set_num_threads(threads)
    crops = faces(detector, max(BATCHES))
    functions = candidates(detector, threads)
    return {
        "threads": threads,
        "repeats": repeats,
        "image_size": detector.image_size,
        "landmarks": len(detector.scheme.names),
        "trained": bool(detector.training),
        "seconds": {str(batch): turn_about(functions, crops[:batch], repeats) for batch in BATCHES},
        "distances": distances(functions, crops),
    }


def section(result: dict[str, Any]) -> report.Section:
    rows: list[tuple[str, ...]] = []
    for name, (largest, mean) in result["distances"].items():
        row = [name]
        for seconds in result["seconds"].values():
            row += [f"{1e3 * seconds[name]:.2f}", f"{next(iter(seconds.values())) / seconds[name]:.2f}"]
        apart = [f"{value:.1g}" if rows else "–" for value in (largest, mean)]
        rows.append((*row, *(apart if result["trained"] else ["untrained"] * 2)))
    return report.Section("from crops to points", HEAD, rows)


def setting(result: dict[str, Any]) -> str:
    threads = "thread" if result["threads"] == 1 else "threads"
    size, landmarks, kind = result["image_size"], result["landmarks"], "a" if result["trained"] else "an untrained"
    detector = f"{kind} detector of {landmarks} landmarks on crops of {size} × {size} px"
    return f"CPU, {result['threads']} {threads}, medians of {result['repeats']} turns, {detector}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/detector.safetensors"), help="default: %(default)s")
    parser.add_argument(
        "--parameters", type=Path, default=Path("params.yaml"), help="the size, where there is no model"
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads; default: %(default)s")
    parser.add_argument("--repeats", type=int, default=50, help="turns that are timed; default: %(default)s")
    parser.add_argument("--json", type=Path, default=Path("results/benchmarks/inference.json"))
    parser.add_argument("--readme", action="store_true", help="put the table into benchmarks/README.md as well")
    args = parser.parse_args()
    detector = Detector.load(args.model) if args.model.exists() else untrained(config.read(args.parameters))
    result = measure(detector, args.threads, args.repeats)
    files.write_json(args.json, result)
    report.printed(setting(result), [section(result)])
    if args.readme:
        text = README.read_text(encoding="utf-8")
        files.write_text(README, report.written(text, "inference", setting(result), [section(result)]))


if __name__ == "__main__":
    entry.main(main)
