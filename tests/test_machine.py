"""How a run computes here: what is given is used, what is left open is measured."""

import pytest
import torch
from torch import nn

from brule import machine
from brule.machine import Pace

IMAGES = torch.zeros(2, 3, 8, 8)


class Stub(nn.Module):
    """As the encoder: a list of maps."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [self.convolution(images)]


def clock(monkeypatch: pytest.MonkeyPatch, seconds: dict[Pace, float]) -> None:
    monkeypatch.setattr(machine, "_seconds", lambda module, images, choice, *_, **__: seconds[choice])
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(4)), raising=False)


def test_what_is_given_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, {})
    assert machine.pace(Stub(), IMAGES, 3, "bfloat16") == Pace(3, "bfloat16")


def test_the_quickest_of_threads_and_precisions_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {Pace(1, "float32"): 4.0, Pace(4, "float32"): 2.0, Pace(1, "bfloat16"): 1.0, Pace(4, "bfloat16"): 3.0}
    clock(monkeypatch, times)
    assert machine.pace(Stub(), IMAGES, 0, "auto") == Pace(1, "bfloat16")
    assert machine.pace(Stub(), IMAGES, 0, "float32") == Pace(4, "float32")
    assert machine.pace(Stub(), IMAGES, 4, "auto") == Pace(4, "float32")


def test_bfloat16_must_be_clearly_quicker(monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, {Pace(2, "float32"): 1.0, Pace(2, "bfloat16"): 0.95})
    assert machine.pace(Stub(), IMAGES, 2, "auto") == Pace(2, "float32")
    clock(monkeypatch, {Pace(2, "float32"): 1.0, Pace(2, "bfloat16"): 0.8})
    assert machine.pace(Stub(), IMAGES, 2, "auto") == Pace(2, "bfloat16")


def test_measuring_leaves_no_gradient_behind() -> None:
    threads = torch.get_num_threads()
    try:
        module = Stub()
        found = machine.pace(module, IMAGES, 1, "auto")
        assert found.threads == 1 and found.precision in ("float32", "bfloat16")
        assert all(parameter.grad is None for parameter in module.parameters())
    finally:
        torch.set_num_threads(threads)


def test_each_process_has_a_gpu_of_its_own_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for count, named, expected in (
        (2, None, ["0", "1", "0"]),
        (2, "7,GPU-5a", ["7", "GPU-5a", "7"]),
        (1, "3,-1,4", ["3", "3", "3"]),  # CUDA sees none after one that does not exist
    ):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        if named:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        assert [machine.pin(k, "auto") for k in range(3)] == [{"CUDA_VISIBLE_DEVICES": name} for name in expected]
    assert machine.pin(0, "cuda:1") == machine.pin(0, "cpu") == {}, "asked for otherwise"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert machine.pin(0, "auto") == {}


def test_the_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, {})
    assert [machine.share(workers) for workers in (1, 2, 3, 9)] == [4, 2, 1, 1]
