"""Algorithms 1 and 2: who learns, who is frozen, and what each coefficient brings in."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from brule import config
from brule.maths import heatmaps
from brule.maths.images import to_tensor
from brule.method import losses
from brule.method.algorithm2 import cycle
from brule.method.context import Average
from brule.method.geometry import Geometry
from brule.method.training import Training
from brule.stages.train import read_inputs

Tiny = Callable[..., config.Config]


def training(settings: config.Config) -> Training:
    inputs, _ = read_inputs(settings)
    return Training(settings, inputs, torch.device("cpu"))


def weights(module: torch.nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def changed(before: list[torch.Tensor], module: torch.nn.Module) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


@pytest.fixture
def only(project: Path, tiny: Tiny) -> Callable[..., tuple[dict[str, bool], set[str]]]:
    """Run one iteration of the joint stage; tell which networks changed and which losses were computed."""

    def run(gan: int, encoder: int, target: str = "teacher", mode: str = "unsupervised", **loss: float | bool):
        stage = {"iterations": 9, "gan_every": gan, "encoder_every": encoder, "target": target, "warp": "strong"}
        t = training(tiny(stages={"joint": stage}, train={"ramp": 0, "mode": mode}, loss=loss))
        n = t.networks
        modules = {"E": n.E, "G": n.G, "D": n.D, "S": n.S, "So": n.So, "E_ema": n.E_ema, "G_ema": n.G_ema}
        before = {name: weights(module) for name, module in modules.items()}
        for _ in range(2):  # the first two iterations warm the rate up and fill the averages
            t.step(t.schedule.at(t.iteration))
            t.iteration += 1
        return {name: changed(before[name], module) for name, module in modules.items()}, set(t._sums)

    return run


def test_algorithm_1_trains_the_gan_and_freezes_the_encoder(only) -> None:
    moved, losses = only(gan=1, encoder=0)
    assert moved == {"E": False, "G": True, "D": True, "S": True, "So": True, "E_ema": False, "G_ema": True}
    assert losses == {
        "gan/discriminator", "gan/mismatch", "gan/R1", "gan/generator", "gan/L_rec", "gan/H_fake", "gan/L_style",
        "gan/skipped",
    }  # fmt: skip


def test_algorithm_2_trains_the_encoder_and_freezes_the_gan(only) -> None:
    # gan_every 9 lets Algorithm 1 run at the very first iteration only, so compare what the second one moved
    moved, losses = only(gan=0, encoder=1)
    assert moved == {"E": True, "G": False, "D": False, "S": False, "So": False, "E_ema": True, "G_ema": False}
    assert losses >= {"encoder/R_g", "encoder/R_b", "encoder/H_sparse"}


def test_all_of_the_papers_encoder_terms_are_there(only) -> None:
    _, losses = only(gan=1, encoder=1, target="self")
    assert losses >= {
        "encoder/R_b", "encoder/R_g", "encoder/H_sparse", "encoder/L_D", "encoder/L_rec", "encoder/H_cycle",
        "encoder/L_decor",
    }  # fmt: skip


def test_the_cycle_on_unpaired_shapes_trains_the_encoder_alone(only) -> None:
    moved, losses = only(gan=0, encoder=1, cycle=1)
    assert "encoder/cycle" not in losses, "it waits for a GAN"
    off = {"c5": 0, "c6": 0, "c7": 0, "c8": 0, "c9": 0, "c10": 0, "decorrelation": 0}
    moved, losses = only(gan=9, encoder=1, cycle=1, **off)  # Algorithm 1 at the first iteration alone
    assert {name for name in losses if name.startswith("encoder/")} == {
        "encoder/cycle", "encoder/total", "encoder/skipped",
    }  # fmt: skip
    assert moved["E"] and moved["E_ema"]


def test_the_cycle_asks_for_the_shape_that_was_drawn(project: Path, tiny: Tiny) -> None:
    """Against an E that answers shape 0 always: of that shape's image it asks nothing but the entropy of the map."""
    t = training(tiny(augment={"jitter": 0, "cutout": 0}, loss={"c6_entropy": 0, "c6_coordinates": 1}))
    still = {
        name: replace(family, rotation=0, shift=0, scale=0, elastic=0) for name, family in t.settings.families.items()
    }
    shapes = t.settings.shapes[:2]
    log_L = heatmaps.log_probabilities((heatmaps.sparse(shapes[:1], 16) + 1e-9).log())
    n = replace(t.networks, E=lambda I: [log_L.expand(len(I), -1, -1, -1)])
    X = heatmaps.coordinates(log_L.exp())
    for chosen in (0, 1):
        s = replace(t.settings, families=still, shapes=shapes[chosen : chosen + 1])
        asked = cycle(n, torch.zeros(3, 3, 64, 64), s, torch.Generator())
        torch.testing.assert_close(asked, (X - shapes[chosen]).abs().mean())


def test_between_the_discriminators_turns_the_generator_only_restores(project: Path, tiny: Tiny) -> None:
    stage = {"iterations": 4, "gan_every": 1, "encoder_every": 0}
    t = training(tiny(stages={"joint": stage}, train={"adversarial_every": 2, "restore_every": 1}))
    for turn, plays in enumerate((True, False, True)):
        before = {name: weights(getattr(t.networks, name)) for name in ("D", "G", "S")}
        t.means()
        t.step(t.schedule.at(turn))
        moved = {name: changed(old, getattr(t.networks, name)) for name, old in before.items()}
        assert moved == {"D": plays, "G": True, "S": True}
        assert ("gan/generator" in t._sums) == ("gan/H_fake" in t._sums) == plays and "gan/L_rec" in t._sums


def test_where_restoring_weighs_nothing_only_the_game_is_played(project: Path, tiny: Tiny) -> None:
    stage = {"iterations": 4, "gan_every": 1, "encoder_every": 0}
    train = {"adversarial_every": 2, "restore_every": 1}
    t = training(tiny(stages={"joint": stage}, train=train, loss={"c1": 0, "c2": 0, "c3": 0}))
    for turn, plays in enumerate((True, False, True)):
        before = {name: weights(getattr(t.networks, name)) for name in ("D", "G", "S")}
        t.step(t.schedule.at(turn))
        moved = {name: changed(old, getattr(t.networks, name)) for name, old in before.items()}
        assert moved == {"D": plays, "G": plays, "S": False}
    assert t.means()["gan/skipped"] == 0


def test_the_styles_of_images_become_those_that_are_made_up(project: Path, tiny: Tiny) -> None:
    stage = {"iterations": 60, "gan_every": 1, "encoder_every": 0}
    alone = {"c1": 0, "c2": 0, "c3": 0, "styles": 1.0}
    train = {"adversarial_every": 1000, "restore_every": 1}
    t = training(tiny(stages={"joint": stage}, train=train, loss=alone, optimiser={"style_rate": 1e-2}))
    t.step(t.schedule.at(0))  # D's turn
    before = {name: weights(getattr(t.networks, name)) for name in ("So", "D")}
    I = to_tensor(t.inputs.gan.images, t.device)
    z = torch.randn(64, t.settings.model.style.latent, generator=torch.Generator().manual_seed(0))

    def apart() -> float:
        with torch.no_grad():
            return float(losses.energy(t.networks.S(I), t.networks.So(z)))

    first = apart()
    for turn in range(1, 60):
        t.step(t.schedule.at(turn))
    assert apart() < 0.8 * first
    assert not any(changed(old, getattr(t.networks, name)) for name, old in before.items())


def test_a_teacher_looks_through_a_view_and_carries_its_points_back(project: Path, tiny: Tiny) -> None:
    """A teacher that answers the weighted mean of the image's brightness moves with the image: the view is undone."""
    t = training(tiny())
    s, n = t.settings, t.networks
    place = torch.rand(6, 1, 2, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.35
    I = heatmaps.condition(place, 64, 3.0).expand(-1, 3, -1, -1)

    def brightness(I: torch.Tensor) -> list[torch.Tensor]:
        return [(F.avg_pool2d(I.mean(1, keepdim=True), 4) + 1e-9).log()]

    stage = config.Stage(iterations=1, learning_rate=1e-3, target="teacher", view="strong", warp="paper")
    found = {}
    for view in (None, "strong"):
        looked = stage.model_copy(update={"view": view})
        networks = replace(n, E_ema=brightness)
        free = replace(s, train=s.train.model_copy(update={"calibrate": False}), permutation=None)
        random = torch.Generator().manual_seed(1)
        found[view] = Geometry(networks, free, looked, random).teacher(I)
    assert (found[None] - place).abs().max() < 5e-3
    assert 0 < (found["strong"] - found[None]).abs().max() < 0.02, "a third of a pixel of its map"


@pytest.mark.parametrize(
    ("coefficient", "name"),
    [
        ("c5", "encoder/R_b"),
        ("c6", "encoder/R_g"),
        ("c7", "encoder/H_sparse"),
        ("c8", "encoder/L_D"),
        ("c9", "encoder/L_rec"),
        ("c10", "encoder/H_cycle"),
        ("cycle", "encoder/cycle"),
        ("decorrelation", "encoder/L_decor"),
        ("mismatch", "gan/mismatch"),
        ("c1", "gan/L_rec"),
        ("c2", "gan/H_fake"),
        ("c3", "gan/L_style"),
    ],
)
def test_a_term_of_weight_zero_is_not_computed(only, coefficient: str, name: str) -> None:
    _, losses = only(gan=1, encoder=1, **{coefficient: 0})
    assert name not in losses
    assert "encoder/total" in losses


@pytest.mark.parametrize("mode", ["semi-supervised", "supervised"])
def test_labels_bring_the_supervised_loss(only, mode: str) -> None:
    _, losses = only(gan=0, encoder=1, mode=mode, c6=0)
    assert "encoder/supervised" in losses and "encoder/R_g" not in losses


def test_an_unsupervised_run_has_no_landmarks_at_all(project: Path, tiny: Tiny) -> None:
    inputs, paths = read_inputs(tiny())
    assert inputs.encoder.landmarks is None and inputs.gan.landmarks is None
    assert not any("train/landmarks" in str(path) for path in paths)


def test_a_step_that_is_not_finite_is_skipped_and_counted(project: Path, tiny: Tiny) -> None:
    t = training(tiny())
    before = weights(t.networks.E)
    t.settings.X_b[:] = float("nan")  # the warm start's target
    t.step(t.schedule.at(0))
    assert not changed(before, t.networks.E)
    assert t._sums["encoder/skipped"] == 1


def test_the_style_that_c8_sees_can_move_the_landmarks(project: Path, tiny: Tiny) -> None:
    """With every other term off, L_D alone must reach the encoder: the condition is differentiable through X_L."""
    stage = {"iterations": 4, "gan_every": 1, "encoder_every": 1, "target": "self"}
    loss = {"c5": 0, "c6": 0, "c7": 0, "c8": 5, "c9": 0, "c10": 0, "decorrelation": 0}
    t = training(tiny(stages={"joint": stage}, train={"ramp": 0}, optimiser={"clip": 1e9}, loss=loss))
    t.step(t.schedule.at(0))
    gradients = [p.grad for p in t.networks.E.parameters() if p.grad is not None]
    assert max(g.abs().max() for g in gradients) > 0


def test_without_any_weight_an_iteration_changes_nothing(only) -> None:
    moved, losses = only(gan=0, encoder=1, c5=0, c6=0, c7=0)
    assert not any(moved.values())
    assert losses == {"encoder/total", "encoder/skipped"}


def test_the_warm_start_does_not_need_R_g(project: Path, tiny: Tiny) -> None:
    t = training(tiny(loss={"c6": 0}))
    t.step(t.schedule.at(0))
    assert "encoder/warm" in t._sums and "encoder/R_g" not in t._sums


def test_an_average_forgets_its_start_and_then_keeps_its_decay() -> None:
    """Against the sum written out, for one parameter that takes the values 5, 6, 7, …"""
    module = torch.nn.Linear(1, 1, bias=False)
    averaged, expected = Average(module, decay=0.5), 0.0
    for n in range(30):
        torch.nn.init.constant_(module.weight, 5.0 + n)
        averaged.update_parameters(module)
        decay = min(0.5, (1 + n) / (10 + n)) if n else 0.0
        expected = decay * expected + (1 - decay) * (5.0 + n)
        assert float(averaged.module.weight) == pytest.approx(expected, rel=1e-6)
    assert int(averaged.n_averaged) == 30
    assert set(averaged.state_dict()) == {"n_averaged", "module.weight"}
    assert not averaged.module.weight.requires_grad
