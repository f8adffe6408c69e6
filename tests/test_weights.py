"""A model file: what goes in comes out, and a file of another kind is refused."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from brule.detector import weights
from brule.errors import BruleError

sys.path.insert(0, str(Path(__file__).parent))
from permissions import nobody, reachable

KIND = weights.Kind("kite", "brule-kite", 3, "models/kite.safetensors")


def test_header_and_tensors_come_back_as_plain_float32(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "kite.safetensors"
    wide = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    weights.save(path, KIND, {"tail": [1, "two"]}, {"wide": wide, "half": torch.ones(3, dtype=torch.bfloat16)})
    header, tensors = weights.load(path, KIND)
    assert header == {"format": 3, "tail": [1, "two"]}
    torch.testing.assert_close(tensors["wide"], wide, rtol=0, atol=0)
    assert tensors["half"].dtype == torch.float32 and set(tensors) == {"wide", "half"}


@pytest.mark.parametrize("header", [{}, {"brule-bird": "{}"}, {"brule-kite": "no JSON"}, {"brule-kite": "[]"}])
def test_another_kind_is_refused(tmp_path: Path, header: dict[str, str]) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.zeros(1)}, path, header)
    with pytest.raises(
        BruleError, match=r"not a brule kite; give the path of a kite.*models/kite\.safetensors"
    ) as caught:
        weights.load(path, KIND)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_sizes_are_whole_and_bounded() -> None:
    assert weights.sizes({"a": 3, "b": 4, "c": "x"}, {"a": 3, "b": 9}) == {"a": 3, "b": 4}
    for wrong in (0, 4, -1, 1.0, True, "3", None):
        with pytest.raises(ValueError, match="bounds"):
            weights.sizes({"a": wrong}, {"a": 3})
    with pytest.raises(KeyError):
        weights.sizes({}, {"a": 3})


def test_a_network_takes_its_own_part_alone() -> None:
    tensors = {"kite.weight": torch.ones(1, 2), "kite.bias": torch.zeros(1), "kitefly.bias": torch.ones(1)}
    network = weights.fill(nn.Linear(2, 1), tensors, "kite", "x", KIND)
    assert network(torch.ones(2)).item() == 2 and not network.training and not network.weight.requires_grad
    with pytest.raises(BruleError, match="do not match its header"):
        weights.fill(nn.Linear(3, 1), tensors, "kite", "x", KIND)


@pytest.mark.parametrize(
    "tensor",
    [
        *(torch.tensor([1.0, wrong]) for wrong in (torch.nan, torch.inf, -torch.inf, 1e38, -2 * weights.HEAVIEST)),
        torch.tensor([1.0, 1e300], dtype=torch.float64),
        torch.ones(2, dtype=torch.int64),
        torch.ones(2, dtype=torch.complex64),
        torch.ones(2, dtype=torch.float8_e4m3fn),
    ],
    ids=lambda tensor: f"{tensor.tolist()[-1]:g} {tensor.dtype}",
)
def test_what_can_be_no_weight_is_refused(tmp_path: Path, tensor: torch.Tensor) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"x": tensor, "y": torch.ones(3)}, path, {KIND.key: '{"format": 3}'})
    with pytest.raises(BruleError, match=r"x\.safetensors: its weights are damaged"):
        weights.load(path, KIND)


def test_what_happens_to_a_file_later_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "kite.safetensors"
    weights.save(path, KIND, {}, {"a": torch.full((50_000,), 0.5), "b": torch.ones(9)})
    _, tensors = weights.load(path, KIND)
    with path.open("r+b") as stream:
        stream.write(bytes(path.stat().st_size))
    assert [float(tensor.sum()) for tensor in tensors.values()] == [25_000, 9]
    os.truncate(path, 0)  # whoever has mapped the file dies of SIGBUS now
    assert [float(tensor.sum()) for tensor in tensors.values()] == [25_000, 9]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux, which tells the peak of memory")
def test_a_file_is_copied_once(tmp_path: Path) -> None:
    def memory(key: str) -> int:
        return int(re.findall(rf"{key}:\s*(\d+) kB", Path("/proc/self/status").read_text())[0]) * 1024

    path, size = tmp_path / "kite.safetensors", 64 * 2**20
    weights.save(path, KIND, {}, {str(k): torch.ones(size // 16) for k in range(4)})
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmRSS")
    weights.load(path, KIND)
    assert memory("VmHWM") - before < 1.6 * size


def header(words: str, *tensors: str) -> bytes:
    """The beginning of a safetensors file that holds these words and describes these tensors."""
    data = json.dumps({"__metadata__": {KIND.key: words}})[:-1] + "".join(f", {each}" for each in tensors) + "}"
    return len(data).to_bytes(8, "little") + data.encode()


def described(shape: list[int], count: int, dtype: str = "F32") -> str:
    return f'"x": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": [0, {count}]}}'


ABSURD = {
    "a header beyond the file": ((2**62).to_bytes(8, "little") + b"{}", "not a whole safetensors file"),
    "a long header": (header(" " * weights.LARGEST_HEADER + "{}"), "not a whole safetensors file"),
    "a large tensor": (header("{}", described([10**9, 10**6], 4 * 10**15)), "not a whole safetensors file"),
    "a tensor beyond counting": (header("{}", described([2**40, 2**40], 8)) + bytes(8), "not a whole safetensors file"),
    "a negative tensor": (header("{}", described([-1, -2], 8)) + bytes(8), "not a whole safetensors file"),
    "deep words": (header("[" * 100_000), "not a brule kite"),
    "a long number": (header('{"format": ' + "9" * 5000 + "}"), "not a brule kite"),
    "a long format": (header('{"format": "' + "x" * 5000 + '"}'), "it has format 'x+…x+', but"),
    "no bytes": (b"", "not a whole safetensors file"),
}


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_headers_are_refused_before_memory_is_taken(tmp_path: Path, name: str) -> None:
    path, (data, sentence) = tmp_path / "x.safetensors", ABSURD[name]
    path.write_bytes(data)
    with pytest.raises(BruleError, match=sentence) as caught:
        weights.load(path, KIND)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < len(str(path)) + 200


def test_a_file_larger_than_any_model_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(header("{}", described([2**33], 2**33, "U8")))
    os.truncate(path, 2**33)  # which takes no room on the disk
    with pytest.raises(BruleError, match=r"x\.safetensors: has 8589934592 bytes, more than the"):
        weights.load(path, KIND)


def test_what_is_no_file_is_told_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name, sentence in {
        ".": "is a folder; give the path of a kite that brule trained",
        "pipe": "is not a file; give the path of a kite",
        "none": "there is no such file; train a model first",
        "dangling": "there is no such file",
        "pipe/inside": "there is no such file",
        "x" * 300: "cannot be read \\(file name too long\\)",
        "null\0": "cannot be read \\(embedded null byte\\)",
    }.items():
        with pytest.raises(BruleError, match=sentence) as caught:
            weights.load(tmp_path / name, KIND)
        assert str(caught.value).startswith(str(tmp_path / name[:4]))


def test_a_file_that_may_not_be_read_is_told_so() -> None:
    with reachable() as folder:
        path = folder / "kite.safetensors"
        weights.save(path, KIND, {}, {"a": torch.ones(1)})
        path.chmod(0)
        with nobody(), pytest.raises(BruleError, match=r"kite\.safetensors: cannot be read \(permission denied\)"):
            weights.load(path, KIND)
