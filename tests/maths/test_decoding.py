"""H(L ‖ gL) and X_L in one pass, or X_L alone: as the plain composition, with the gradient of finite differences."""

import pytest
import torch
from torch import Tensor

from brule.maths import heatmaps
from brule.maths.heatmaps import decode, soft_argmax


def case(dtype: torch.dtype = torch.float32, size: int = 16, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(2, 3, size, size, generator=random, dtype=torch.float64)
    target = torch.rand(2, 3, 2, generator=random, dtype=torch.float64)
    target[0, 0] = torch.tensor([1.3, -0.2])  # outside the frame
    return logits.to(dtype).requires_grad_(), target.to(dtype)


def plain(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    log_L = heatmaps.log_probabilities(logits)
    H = [heatmaps.cross_entropy(a[None, None], b[None, None]) for a, b in zip(
        log_L.flatten(0, 1), heatmaps.sparse(target, logits.shape[-1]).flatten(0, 1), strict=True
    )]  # fmt: skip
    return torch.stack(H).view(logits.shape[:2]), heatmaps.coordinates(log_L.exp())


def gradient(function, logits: Tensor, target: Tensor) -> Tensor:
    H, X = function(logits, target)
    weights = torch.rand(H.shape, generator=torch.Generator().manual_seed(1)).to(H)
    ((weights * H).sum() + (X - target).abs().sum()).backward()
    found, logits.grad = logits.grad, None
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.1, 3.0, 60.0])
def test_the_plain_composition_gives_the_same(dtype: torch.dtype, scale: float):
    logits, target = case(dtype, scale=scale)
    for one, other in zip(decode(logits, target), plain(logits, target), strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(gradient(decode, logits, target), gradient(plain, logits, target))
    torch.testing.assert_close(soft_argmax(logits), plain(logits, target)[1])


@pytest.mark.parametrize("images", [0, 1, 5])
def test_a_few_images_at_a_time_give_the_same_as_all_at_once(images: int, monkeypatch: pytest.MonkeyPatch):
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(images, 3, 8, 8, generator=random).requires_grad_()
    target = torch.rand(images, 3, 2, generator=random)
    wanted = (*decode(logits, target), gradient(decode, logits, target), soft_argmax(logits))
    monkeypatch.setattr(heatmaps, "PART", 2 * logits[:1].numel() + 1)  # two images, and the last one alone
    found = (*decode(logits, target), gradient(decode, logits, target), soft_argmax(logits))
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


def test_gradient_against_finite_differences():
    logits, target = case(torch.float64, size=6)
    assert torch.autograd.gradcheck(lambda x: decode(x, target), logits)


def test_the_gradient_cannot_be_differentiated_silently():
    logits, target = case()
    (found,) = torch.autograd.grad(decode(logits, target)[0].sum(), logits, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        found.sum().backward()


@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_extreme_logits_have_a_finite_value_and_gradient(scale: float):
    logits, target = case(scale=scale)
    assert all(part.isfinite().all() for part in decode(logits, target))
    assert gradient(decode, logits, target).isfinite().all()


def test_half_precision_is_promoted_once_and_its_gradient_comes_back_as_it_was():
    logits, target = case()
    half = logits.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        H, X = decode(half, target)
        assert torch.equal(soft_argmax(half), X)
    assert H.dtype == X.dtype == torch.float32
    full = half.detach().float().requires_grad_()
    torch.testing.assert_close((H, X), decode(full, target))
    assert torch.equal(gradient(decode, half, target), gradient(decode, full, target).bfloat16())
