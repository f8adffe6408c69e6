"""The teacher's points: their mean and their covariance are tied to the prior, and a mirror image gives the same."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from brule import config
from brule.data.prepared import load
from brule.errors import BruleError
from brule.maths import warps
from brule.maths.images import mirror_all
from brule.method.batches import Batches
from brule.method.geometry import Calibration, both_ways
from brule.method.training import Training
from brule.stages.train import read_inputs, train

K = 6


def cloud(seed: int, count: int, scales: tuple[float, ...] = (0.1, 0.05, 0.02)) -> Tensor:
    """Shapes (count, K, 2) about one mean, with as many modes as there are scales."""
    random = torch.Generator().manual_seed(seed)
    modes = torch.linalg.qr(torch.randn(2 * K, len(scales), generator=torch.Generator().manual_seed(9)))[0]
    mean = torch.rand(K, 2, generator=torch.Generator().manual_seed(8))
    return mean + (torch.randn(count, len(scales), generator=random) * torch.tensor(scales) @ modes.T).view(-1, K, 2)


def covariance(X: Tensor) -> Tensor:
    return torch.cov(X.flatten(1).T.double(), correction=0)


def filled(X: Tensor, shapes: Tensor) -> Calibration:
    calibration = Calibration(shapes.mean(0), shapes, momentum=0.0)
    calibration.observe(X)
    return calibration


def test_without_modes_the_mean_alone_is_moved() -> None:
    shapes, X = cloud(0, 50), cloud(1, 40) + 0.1
    Y = filled(X, shapes).apply(X)
    torch.testing.assert_close(Y.mean(0), shapes.mean(0))
    torch.testing.assert_close(Y - Y.mean(0), X - X.mean(0))


def test_with_modes_the_points_have_the_covariance_of_the_shapes() -> None:
    """A teacher who shrinks, shears and shifts every answer is put right, on average over the data set."""
    shapes = cloud(0, 400)
    shear = torch.eye(2 * K) * 0.6 + 0.1 * torch.randn(2 * K, 2 * K, generator=torch.Generator().manual_seed(3))
    X = (cloud(1, 400).flatten(1) @ shear).view(-1, K, 2) + 0.2
    calibration = filled(X, shapes)
    P = calibration.modes[:, :3]
    Y = calibration.apply(X, modes=3, keep=0.0)
    torch.testing.assert_close(Y.mean(0), shapes.mean(0))
    torch.testing.assert_close(P.T @ covariance(Y) @ P, P.T @ covariance(shapes) @ P, rtol=1e-3, atol=1e-7)
    assert covariance(Y).trace() == pytest.approx(float((P.T @ covariance(Y) @ P).trace()), rel=1e-4)


def test_a_teacher_who_has_the_prior_already_is_left_alone() -> None:
    shapes = cloud(0, 300)
    torch.testing.assert_close(filled(shapes, shapes).apply(shapes, modes=3), shapes, rtol=0, atol=1e-4)


def test_keep_scales_what_lies_outside_the_modes() -> None:
    shapes = cloud(0, 300)
    X = shapes + 0.01 * torch.randn(300, K, 2, generator=torch.Generator().manual_seed(4))
    calibration = filled(X, shapes)
    P = calibration.modes[:, :3].float()
    none, half, whole = (calibration.apply(X, modes=3, keep=keep) for keep in (0.0, 0.5, 1.0))
    torch.testing.assert_close(half, (none + whole) / 2)
    assert ((none - none.mean(0)).flatten(1) @ P @ P.T).sub((none - none.mean(0)).flatten(1)).abs().max() < 1e-5


def test_images_of_another_domain_keep_their_shape_and_stay_out_of_the_moments() -> None:
    shapes, X = cloud(0, 50), cloud(1, 40) + 0.1
    primary = torch.arange(40) < 30
    one, other = (Calibration(shapes.mean(0), shapes) for _ in range(2))
    Y = one.tie(X, primary, modes=3, keep=0.0)
    other.observe(X[:30], 40)
    assert torch.equal(Y[:30], other.apply(X[:30], 3, 0.0)) and torch.equal(Y[30:], other.apply(X[30:]))


@pytest.mark.parametrize("count", [1, 4])
def test_fewer_shapes_than_a_mode_needs_tie_the_mean_alone(count: int) -> None:
    shapes, X = cloud(0, count), cloud(1, 30)
    calibration = filled(X, shapes)
    torch.testing.assert_close(calibration.apply(X, modes=8, keep=0.0), calibration.apply(X))


def test_images_that_no_landmarks_framed_keep_their_shifts_and_sizes() -> None:
    shapes, X = cloud(0, 50), cloud(1, 40) + 0.1
    unframed = Calibration(shapes.mean(0), shapes, framed=False)
    Y = unframed.tie(X, torch.zeros(40, dtype=torch.bool), modes=3, keep=0.0)
    torch.testing.assert_close(Y, X - X.mean(0) + shapes.mean(0))


def test_few_shapes_give_few_modes() -> None:
    few = Calibration(cloud(0, 12).mean(0), cloud(0, 12))
    few.observe(cloud(1, 30))
    assert few.modes.shape[1] == 2
    torch.testing.assert_close(few.apply(cloud(1, 3), modes=8, keep=0.5), few.apply(cloud(1, 3), modes=2, keep=1.0))


def test_what_is_not_finite_never_enters_the_moments() -> None:
    shapes, X = cloud(0, 50), cloud(1, 40)
    broken = torch.cat((X, torch.full((2, K, 2), torch.nan)))
    torch.testing.assert_close(filled(broken, shapes).covariance, filled(X, shapes).covariance)


def test_a_restored_calibration_goes_on_alike() -> None:
    one, shapes = filled(cloud(1, 20), cloud(0, 50)), cloud(0, 50)
    other = Calibration(shapes.mean(0), shapes, momentum=0.0)
    other.restore(one.state())
    for calibration in (one, other):
        calibration.observe(cloud(2, 20))
    assert torch.equal(one.apply(shapes, 2, 0.5), other.apply(shapes, 2, 0.5))


def test_both_ways_agrees_on_an_image_and_its_mirror_image() -> None:
    """The answer on the mirror image is the mirror image of the answer, whatever the encoder says."""
    I = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    mixing = torch.randn(3 * 8 * 8, 2 * K, generator=torch.Generator().manual_seed(1))
    permutation = torch.tensor([1, 0, 3, 2, 4, 5])

    def points(images: Tensor) -> Tensor:
        return (images.flatten(1) @ mixing).view(-1, K, 2)

    X, mirrored = both_ways(points, I, permutation), both_ways(points, I.flip(-1), permutation)
    torch.testing.assert_close(mirrored, mirror_all(X, permutation))
    assert torch.equal(both_ways(points, I, None), points(I))


@pytest.fixture
def few(project: Path, tiny) -> config.Config:
    """Three labelled images, the others without labels; from the second stage on both losses."""
    index = project / "data/crops/train/index.csv"
    rows = index.read_text().splitlines()
    index.write_text("\n".join(rows[:4] + [row[:-5] + "0,0,1" for row in rows[4:]]) + "\n")
    stage = {"iterations": 2, "target": "teacher", "warp": "strong", "regularise": False}
    train = {"mode": "semi-supervised", "batch_size": 2, "unlabelled": 4}
    return tiny(train=train, stages={"settle": stage})


def test_few_labels_and_many_images_share_a_batch(few: config.Config) -> None:
    found, _ = read_inputs(few)
    assert len(found.encoder.images) == 3 and len(found.gan.images) == 24
    training = Training(few, found, torch.device("cpu"))
    training.step(training.schedule.at(0))
    assert training.images == 6
    assert {"encoder/R_g", "encoder/supervised"} <= set(training._sums)


def test_a_run_starts_from_the_weights_of_a_detector(project: Path, tiny) -> None:
    train(tiny())
    path = (project / "models/detector.safetensors").rename(project / "start.safetensors")
    settings = tiny(train={"initial": str(path)})
    found, paths = read_inputs(settings)
    assert path in paths  # another detector at this path is another run
    encoder = Training(settings, found, torch.device("cpu")).networks.E
    assert all(torch.equal(found.initial[name], value) for name, value in encoder.state_dict().items())
    other = tiny(train={"initial": str(path)}, model={"encoder": {"stacks": 2}})
    with pytest.raises(BruleError, match=r"^train\.initial: .*'stacks': 1.*'stacks': 2.*make them agree$"):
        read_inputs(other)


@pytest.mark.parametrize(("framed", "expected"), [("111", None), ("110", [True, True, False]), ("000", [False] * 3)])
def test_only_images_framed_by_landmarks_are_of_the_shapes_domain(
    project: Path, framed: str, expected: list[bool] | None
) -> None:
    faces = load(project / "data/crops", "train", labels=False)
    faces.index["framed"] = [bool(int(framed[row % 3])) for row in range(len(faces))]
    primary = Batches(faces, None, 4, 0, "encoder", torch.device("cpu")).primary
    assert (None if primary is None else primary[:3].tolist()) == expected


@pytest.mark.parametrize(
    ("mode", "labelled", "framed", "tied"),
    [
        ("unsupervised", "11", "10", True),
        ("unsupervised", "11", "00", False),
        ("semi-supervised", "10", "10", False),  # those in the shapes' domain are those with landmarks
        ("semi-supervised", "10", "01", True),
        ("semi-supervised", "10", "11", True),
        ("semi-supervised", "11", "11", True),
    ],
)
def test_the_modes_are_tied_where_images_without_landmarks_are_in_the_shapes_domain(
    project: Path, tiny, mode: str, labelled: str, framed: str, tied: bool
) -> None:
    settings = tiny(train={"mode": mode})
    found, _ = read_inputs(settings)
    for name, told in (("labelled", labelled), ("framed", framed)):
        found.gan.index[name] = [bool(int(told[row % 2])) for row in range(len(found.gan))]
    assert Training(settings, found, torch.device("cpu")).calibration.framed == tied


@pytest.mark.parametrize(
    ("bounded", "framed", "narrowed"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_g_stays_within_the_shapes_spread_where_all_images_are_cropped_as_they_are(
    project: Path, tiny, bounded: bool, framed: bool, narrowed: bool
) -> None:
    wide = {"rotation": 90, "shift": 0.5, "scale": 2.0, "bounded": bounded}
    settings = tiny(warp={"wide": wide})
    found, _ = read_inputs(settings)
    found.encoder.index.loc[found.encoder.index.index[0], "framed"] = framed
    family = Training(settings, found, torch.device("cpu")).settings.families["wide"]
    spread = warps.spread(torch.tensor(found.shapes), torch.tensor(found.X_b))
    limits = spread if narrowed else (90, 0.5, 2.0)
    assert (family.rotation, family.shift, family.scale) == pytest.approx(tuple(limits), rel=1e-3)
