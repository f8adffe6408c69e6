"""GroupNorm and ReLU in one. Without a GPU, Triton acts the kernels out, and compiles them for one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brule.networks.hourglass import Normalise, fuse

pytest.importorskip("triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from brule.networks import fused

channels = {"weight": "*fp32", "bias": "*fp32"}
sizes = {"pixels": "i32", "channels": "i32", "PADDED": "constexpr", "ROWS": "constexpr", "eps": "fp32"}
for count in (48, 80, 96):
    padded = triton.next_power_of_2(count)
    constants = {"PADDED": padded, "ROWS": fused.TILE // padded}
    for kernel in (fused._moments, fused._apply, fused._totals, fused._back):
        known = {"sums": "*fp32", "totals": "*fp32", **channels, **sizes}
        types = {name: known.get(name, "*bf16") for name in kernel.arg_names}
        source = ASTSource(kernel, types, constexprs=constants)
        found = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": fused.WARPS})
        assert found.asm["cubin"], kernel
        print(kernel.__name__, count)
"""


@pytest.mark.parametrize("shape", [(2, 48, 8, 8), (3, 96, 16, 16), (2, 16, 2, 2), (2, 160, 4, 6)])
@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_it_is_group_norm_and_relu(shape: tuple[int, ...], precision: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    fused, plain = (Normalise(shape[1]).to(DEVICE) for _ in range(2))
    for parameter in fused.parameters():
        nn.init.normal_(parameter)
    plain.load_state_dict(fused.state_dict())
    fuse(fused)
    assert fused.fused is not None
    x = (2 * torch.randn(shape, device=DEVICE) + 1).to(precision).to(memory_format=torch.channels_last)
    g = torch.randn(shape, device=DEVICE).to(precision)

    def answers(norm: Normalise, x: Tensor) -> list[Tensor]:
        x = x.clone().requires_grad_()
        y = norm(x)
        return [y, *torch.autograd.grad(y, [x, *norm.parameters()], g.to(y.dtype))]

    ours, theirs = answers(fused, x), answers(plain, x.float())
    assert ours[0].dtype == ours[1].dtype == precision
    assert ours[0].is_contiguous(memory_format=torch.channels_last)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.float() - other).norm() <= tolerance * other.norm()


def test_what_is_not_a_number_stays_so() -> None:
    norm = Normalise(32).to(DEVICE)
    fuse(norm)
    x = torch.ones(1, 32, 2, 2, device=DEVICE)
    x[0, 0, 0, 0] = torch.nan
    y = norm(x)
    assert norm.fused is not None and y[:, :16].isnan().all() and not y[:, 16:].isnan().any()


def test_other_groups_stay_torch_s() -> None:
    norm = Normalise(24)
    fuse(norm)
    torch.testing.assert_close(norm(torch.ones(1, 24, 2, 2)), F.relu(F.group_norm(torch.ones(1, 24, 2, 2), 1)))


def test_every_kernel_compiles_for_an_h100_where_there_is_none(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    words = [sys.executable, "-c", COMPILED]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 12


def test_where_a_kernel_fails_the_normalisations_stay_torch_s(monkeypatch: pytest.MonkeyPatch) -> None:
    from brule.networks import fused

    def fails(*_: object) -> None:
        raise RuntimeError("no such instruction")

    norm = Normalise(48).to(DEVICE)
    monkeypatch.setattr(fused._NormRelu, "backward", fails)  # the first to be compiled that only training needs
    with pytest.warns(UserWarning, match="the encoder's normalisations stay torch's own"):
        fuse(norm)
    assert norm.fused is None
