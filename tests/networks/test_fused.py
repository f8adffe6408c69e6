"""GroupNorm and ReLU in one. Triton acts it out where TRITON_INTERPRET=1 is in the environment."""

import os

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brule.networks.hourglass import Normalise, fuse

ACTED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if ACTED else "cuda"
pytestmark = pytest.mark.skipif(not (ACTED or torch.cuda.is_available()), reason="needs a CUDA device")


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
