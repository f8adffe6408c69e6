"""2 × 2 matrices by hand, against the library's solver."""

import torch

from brule.maths.transport import apply, inverse


def test_the_inverse_undoes_the_matrix() -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = torch.eye(2) + 0.3 * torch.randn(4, 5, 2, 2, generator=generator, dtype=torch.float64)
    points = torch.randn(4, 5, 2, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(inverse(matrices), torch.linalg.inv(matrices))
    torch.testing.assert_close(apply(inverse(matrices), apply(matrices, points)), points)
    torch.testing.assert_close(inverse(matrices[:, 0], least=0), torch.linalg.inv(matrices[:, 0]))


def test_a_small_determinant_is_held_with_its_sign_unless_none_is_too_small() -> None:
    for small in (1e-2, -1e-2):
        matrices = torch.tensor([[[small, 0.0], [0.0, 1e-2]]])  # of determinant ±1e-4
        adjugate = torch.tensor([[[1e-2, 0.0], [0.0, small]]])
        sign = 1 if small > 0 else -1
        torch.testing.assert_close(inverse(matrices), adjugate / (sign * 1e-3))
        torch.testing.assert_close(inverse(matrices, least=0.1), adjugate / (sign * 0.1))
        torch.testing.assert_close(inverse(matrices, least=0), torch.linalg.inv(matrices))


def test_a_singular_matrix_has_finite_answers_only_where_the_determinant_is_held() -> None:
    assert inverse(torch.zeros(1, 2, 2)).isfinite().all()
    assert not inverse(torch.zeros(1, 2, 2), least=0).isfinite().any()
