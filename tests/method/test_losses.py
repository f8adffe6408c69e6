"""Every loss where its value is obvious, and R_b's gradient against finite differences."""

import math

import pytest
import torch

from brule.maths import heatmaps
from brule.method import losses
from brule.method.losses import BarycenterTerms


def shape(points: int = 12, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return 0.3 + 0.4 * torch.rand(points, 2, generator=random, dtype=torch.float64)


@pytest.mark.parametrize("coupling", ["index", "ot"])
def test_R_b_is_zero_at_the_barycenter(coupling: str) -> None:
    X_b = shape()
    assert losses.barycenter_regulariser(X_b[None], X_b, BarycenterTerms(coupling=coupling, ridge=0)) < 1e-20


@pytest.mark.parametrize("coupling", ["index", "ot"])
def test_R_b_of_a_translation_is_its_first_term_alone(coupling: str) -> None:
    X_b, t = shape(), torch.tensor([0.1, -0.05], dtype=torch.float64)
    terms = BarycenterTerms(c11=3, c12=7, c13=11, coupling=coupling, ridge=0)
    value = losses.barycenter_regulariser((X_b + t)[None], X_b, terms)
    assert value.item() == pytest.approx(3 * t.square().sum().item(), rel=1e-9)


def test_R_b_of_a_scaling_is_its_second_term_alone() -> None:
    X_b = shape()
    X_L = X_b.mean(0) + 1.1 * (X_b - X_b.mean(0))
    value = losses.barycenter_regulariser(X_L[None], X_b, BarycenterTerms(c11=3, c12=7, c13=11, ridge=0))
    moved = (0.1 * (X_b - X_b.mean(0))).square().sum(-1).mean()
    assert value.item() == pytest.approx(7 * moved.item(), rel=1e-9)


def test_R_b_compares_sets_of_different_size_under_ot() -> None:
    X_b = shape(12)
    doubled = X_b.repeat_interleave(2, 0)[None]
    assert losses.barycenter_regulariser(doubled, X_b, BarycenterTerms(coupling="ot", ridge=0)) < 1e-12


@pytest.mark.parametrize("coupling", ["index", "ot"])
def test_R_b_of_points_that_are_not_finite_is_not_finite_so_that_the_step_is_skipped(coupling: str) -> None:
    X_L = shape().expand(2, -1, -1).clone()
    X_L[1, 0, 0] = torch.nan
    X_L.requires_grad_()
    value = losses.barycenter_regulariser(X_L, shape(), BarycenterTerms(coupling=coupling))
    value.backward()
    assert value.isnan() and X_L.grad is not None and not X_L.grad.isfinite().all()


def test_R_b_does_not_punish_what_the_tolerances_allow() -> None:
    X_b = shape()
    near = X_b + 0.02
    far = X_b + 0.2
    terms = BarycenterTerms(tolerances=(3e-3, 6e-4, 2e-3), ridge=0)
    assert losses.barycenter_regulariser(near[None], X_b, terms) == 0
    assert losses.barycenter_regulariser(far[None], X_b, terms).item() == pytest.approx(0.08 - 3e-3, rel=1e-6)


@pytest.mark.parametrize("alignment", ["affine", "similarity"])
@pytest.mark.parametrize("coupling", ["index", "ot"])
def test_gradient_of_R_b(coupling: str, alignment: str) -> None:
    X_b = shape(8)
    X_L = (shape(8, seed=1) * 0.5 + X_b * 0.5)[None].requires_grad_()
    terms = BarycenterTerms(1, 2, 3, coupling=coupling, alignment=alignment)
    assert torch.autograd.gradcheck(lambda X: losses.barycenter_regulariser(X, X_b, terms), (X_L,))


def test_detaching_the_affine_map_changes_the_gradient_but_not_the_value() -> None:
    X_b, start = shape(8), shape(8, seed=1)[None]
    values, gradients = [], []
    for detach in (False, True):
        X_L = start.clone().requires_grad_()
        value = losses.barycenter_regulariser(X_L, X_b, BarycenterTerms(detach_affine=detach))
        value.backward()
        values.append(value.item())
        gradients.append(X_L.grad)
    assert values[0] == values[1]
    assert not torch.allclose(gradients[0], gradients[1])


def test_R_g_is_smallest_where_the_maps_are_the_target() -> None:
    X = shape(5)[None].float()
    logits = heatmaps.sparse(X, 32).clamp_min(1e-12).log()
    at_target = losses.geometric_regulariser([logits], X, entropy=heatmaps.PAPER_UNIT, coordinates=1)
    elsewhere = losses.geometric_regulariser([logits], X + 0.1, entropy=heatmaps.PAPER_UNIT, coordinates=1)
    assert at_target.item() == pytest.approx(2.838, abs=0.02)  # the entropy of a Gaussian of one pixel
    assert elsewhere > at_target + 1


def test_R_g_averages_the_stacks() -> None:
    X = shape(5)[None].float()
    one, other = torch.randn(2, 1, 5, 16, 16, generator=torch.Generator().manual_seed(0))
    both = losses.geometric_regulariser([one, other], X, 1e3, 0.3)
    apart = [losses.geometric_regulariser([stack], X, 1e3, 0.3) for stack in (one, other)]
    assert both.item() == pytest.approx(sum(a.item() for a in apart) / 2, rel=1e-5)


def test_a_uniform_map_has_the_largest_concentration_loss() -> None:
    log_L = heatmaps.log_probabilities(torch.zeros(1, 3, 64, 64))
    X_L = heatmaps.coordinates(log_L.exp())
    assert losses.concentration(log_L, X_L).item() == pytest.approx(math.log(64 * 64), abs=1e-3)


def test_gan_losses_at_an_undecided_discriminator() -> None:
    zero = torch.zeros(4)
    assert losses.discriminator(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert losses.generator(zero).item() == pytest.approx(math.log(2))
    assert losses.landmark_discriminator(zero, zero).item() == pytest.approx(2 * math.log(2))


def test_the_discriminator_wants_real_up_and_fake_down() -> None:
    real, fake = torch.full((2,), 5.0), torch.full((2,), -5.0)
    assert losses.discriminator(real, fake) < losses.discriminator(fake, real)
    assert losses.generator(real) < losses.generator(fake)


def test_R1_of_a_linear_discriminator_is_its_squared_norm() -> None:
    w = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    image = torch.zeros(2, 3, 8, 8, requires_grad=True)
    assert losses.gradient_penalty((image * w).sum((1, 2, 3)), image).item() == pytest.approx(
        w.square().sum().item(), rel=1e-5
    )


def test_R1_can_be_differentiated_again() -> None:
    a = torch.tensor(2.0, requires_grad=True)
    image = torch.ones(1, 3, 2, 2, requires_grad=True)
    losses.gradient_penalty((a * image.square()).sum((1, 2, 3)), image).backward()
    # ‖∇‖² = Σ (2 a x)² = 4 a² · 12, and its derivative 8 a · 12
    assert a.grad is not None and a.grad.item() == pytest.approx(8 * 2 * 12)


def test_mean_absolute_losses() -> None:
    one, two = torch.zeros(2, 3), torch.ones(2, 3)
    assert losses.reconstruction(one, two) == 1
    assert losses.decorrelation(one, one) == 0
    assert losses.style(one, two, one) == 1


def test_the_energy_distance_of_two_points_is_twice_their_distance() -> None:
    one, two = torch.zeros(3, 2), torch.tensor([[3.0, 4.0]]).expand(5, 2)
    torch.testing.assert_close(losses.energy(one, two), torch.tensor(2 * 5.0 / 2))
    assert losses.energy(one, one) == 0


def test_the_energy_distance_is_zero_on_average_only_between_equal_distributions() -> None:
    random = torch.Generator().manual_seed(0)

    def mean(shift: float, scale: float) -> float:
        draws = [(torch.randn(8, 4, generator=random), torch.randn(64, 4, generator=random)) for _ in range(400)]
        return float(torch.stack([losses.energy(scale * a + shift, b) for a, b in draws]).mean())

    assert abs(mean(0.0, 1.0)) < 0.01
    assert mean(0.5, 1.0) > 0.05
    assert mean(0.0, 0.5) > 0.05, "a spread that is too small counts as well as a wrong mean"


def test_gradient_of_the_energy_distance() -> None:
    random = torch.Generator().manual_seed(0)
    one, two = (torch.randn(n, 3, generator=random, dtype=torch.float64, requires_grad=True) for n in (4, 5))
    assert torch.autograd.gradcheck(losses.energy, (one, two))
