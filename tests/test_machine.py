"""How a run computes here: what is given is used, what is left open follows from the processor."""

import ctypes
import subprocess
import sys

import pytest
import torch

from brule import machine
from brule.errors import BruleError
from brule.machine import Pace

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(4)), raising=False)


def test_what_is_given_is_used() -> None:
    assert machine.pace(CPU, 3, "bfloat16") == Pace(3, "bfloat16")
    assert machine.pace(torch.device("cuda"), 3, "bfloat16") == Pace(3, "bfloat16")


@pytest.mark.parametrize(
    ("instructions", "precision"),
    [
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, "float32"),
        ({"avx2": True, "avx512_bf16": True, "amx_bf16": False}, "bfloat16"),
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": True}, "bfloat16"),
        ({"architecture": "arm64", "neon": True}, "float32"),
    ],
)
def test_what_is_left_open_follows_from_the_processor(
    monkeypatch: pytest.MonkeyPatch, instructions: dict[str, object], precision: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    assert machine.pace(CPU, 0, "auto") == Pace(4, precision)
    assert machine.pace(CPU, 0, "float32") == Pace(4, "float32")
    assert machine.pace(CPU, 2, "auto") == Pace(2, precision)


def test_torch_names_the_instructions_of_this_processor() -> None:
    assert machine.pace(CPU, 1, "auto").precision in ("float32", "bfloat16")
    assert "architecture" in torch.cpu.get_capabilities()


def test_a_device_that_is_not_there_gets_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BruleError, match=r"machine\.device: 'mps' is not a device; use auto, cpu or cuda"):
        machine.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(BruleError, match=r"machine\.device: is cuda:7, but torch finds 1 GPU here, from cuda:0"):
        machine.device("cuda:7")


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


def test_the_cores_are_shared_out() -> None:
    assert [machine.share(workers) for workers in (1, 2, 3, 9)] == [4, 2, 1, 1]


FAULTS = """
import resource, torch
from brule import machine
machine.keep(machine.Pace(1, "float32"))
def fill(): torch.ones(2**24)  # 64 MiB, freed at once
for _ in range(32): fill()  # old glibc takes a few turns until a block is found again
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8): fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
def test_freed_memory_stays_with_the_process() -> None:
    ran = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 2**10, "the kernel handed out pages again, of which eight such tensors have 2**17"
