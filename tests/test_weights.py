"""A model file: what goes in comes out, and a file of another kind is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from brule.detector import weights
from brule.errors import BruleError

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
    with pytest.raises(BruleError, match="weights are damaged"):
        weights.fill(nn.Linear(2, 1), tensors | {"kite.bias": torch.full((1,), torch.nan)}, "kite", "x", KIND)
