"""benchmarks/: the straightforward composition is the same mathematics, its stopwatch adds up, and both steps run."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from brule import config
from brule.errors import BruleError
from brule.maths.family import Family
from brule.maths.heatmaps import soft_argmax
from brule.networks.layers import EqualConv, ModulatedConv, ToRGB
from brule.stages import experiments

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import compositions
import pieces
import report
import straightforward
import training

BASE = experiments.workspace(Path(__file__).parents[1])
STAGE = {"iterations": 1, "learning_rate": 1e-3, "target": "teacher", "warp": "prior", "regularise": True}
TINY = experiments.merge(
    BASE | {"stages": {"learn": STAGE, "joint": STAGE | {"gan_every": 1, "encoder_every": 2}}},
    {
        "prepare": {"image_size": 64},
        "model": {
            "map_size": 16,
            "encoder": {"width": 8, "depth": 1},
            "gan": {"width": 4, "max_width": 8},
            "style": {"size": 8, "width": 4, "latent": 8, "depth": 2},
        },
        "train": {"batch_size": 4, "gan_batch_size": 3},
        "machine": {"device": "cpu"},
    },
)


@pytest.fixture(scope="module")
def result() -> dict:
    return training.measure(config.parse(TINY), repeats=1)


def value_and_gradient(function, x: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    value = function(leaf)
    value.square().sum().backward()
    return value.detach(), leaf.grad


@pytest.mark.parametrize("name", ["modulated convolution, enlarging", "R_g", "R_b, coupled by transport"])
def test_single_pieces_have_the_same_value_and_gradient(name: str) -> None:
    x, ours, theirs = training.pairs(config.parse(TINY))[name]
    torch.testing.assert_close(value_and_gradient(ours, x), value_and_gradient(theirs, x), atol=1e-4, rtol=1e-3)


def test_the_exchanged_soft_argmax_is_the_same() -> None:
    logits = 3 * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(straightforward.soft_argmax(logits), soft_argmax(logits))


@pytest.mark.parametrize("resample", ["none", "up", "down"])
def test_the_exchanged_layers_are_the_same(resample: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    x, style = torch.randn(2, 4, 8, 8), torch.randn(2, 6)
    plain, styled, rgb = EqualConv(4, 5, 3, resample=resample), ModulatedConv(4, 5, 6, resample=resample), ToRGB(4, 6)
    before = plain(x), styled(x, style), rgb(x, style)
    monkeypatch.setattr("brule.networks.layers.convolve", straightforward.convolve)
    monkeypatch.setattr(ModulatedConv, "forward", straightforward.modulated)
    monkeypatch.setattr(ToRGB, "forward", straightforward.to_rgb)
    torch.testing.assert_close((plain(x), styled(x, style), rgb(x, style)), before, atol=1e-5, rtol=1e-4)


def test_the_exchanged_networks_answer_the_same() -> None:
    ours, theirs = (
        compositions.build(config.parse(TINY), torch.device("cpu"), exchanged) for exchanged in (False, True)
    )
    condition = torch.zeros(1, len(ours.X_b), 16, 16)
    I_F = ours.networks.G(condition, torch.ones(1, 8))
    with pieces.installed(theirs, pieces.Stopwatch(), exchanged=True):
        torch.testing.assert_close(theirs.networks.G(condition, torch.ones(1, 8)), I_F, atol=1e-4, rtol=1e-3)
        logits = theirs.networks.E(I_F)
    torch.testing.assert_close(logits, ours.networks.E(I_F), atol=1e-4, rtol=1e-3)


def test_kornia_s_g_moves_points_as_it_moves_images() -> None:
    torch.manual_seed(0)
    size, family = 64, Family(rotation=20, shift=0.05, scale=0.1, elastic=0.004, correlation=0.08)
    corners = torch.tensor([[0.1, 0.1], [0.9, 0.1], [0.1, 0.9], [0.9, 0.9], [0.35, 0.6]])
    source, destination = corners.expand(3, -1, -1), (corners + 0.03 * torch.randn(3, 5, 2))
    g = straightforward.sample(family, 3, size, torch.Generator(), source, destination)
    axis = (torch.arange(size) + 0.5) / size
    spot = (-((axis - 0.35)[None] ** 2 + (axis - 0.6)[:, None] ** 2) / (2 * 0.04**2)).exp()
    moved = g.images(spot.expand(3, 3, -1, -1))[:, 0]
    mass = moved / moved.sum((1, 2), keepdim=True)
    centre = torch.stack(((mass.sum(1) * axis).sum(1), (mass.sum(2) * axis).sum(1)), dim=-1)
    torch.testing.assert_close(centre, g.points(source)[:, 4], atol=1.0 / size, rtol=0)


def test_kornia_s_g_leads_back_from_where_it_led() -> None:
    torch.manual_seed(0)
    points = 0.2 + 0.6 * torch.rand(3, 7, 2)
    family = Family(rotation=20, shift=0.05, scale=0.1, elastic=0.004, correlation=0.08)
    g = straightforward.sample(family, 3, 64, torch.Generator())
    moved = g.points(points)
    assert (moved - points).abs().max() > 0.05
    torch.testing.assert_close(g.origins(moved), points, atol=2e-3, rtol=0)


def test_the_stopwatch_gives_every_second_to_one_part(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.0, 1.0, 3.0, 7.0])
    monkeypatch.setattr(pieces.time, "perf_counter", lambda: next(seconds))
    watch = pieces.Stopwatch()
    inner = watch.timed("inner", lambda: None)
    with watch.running("outer"):
        inner()
    assert watch.seconds == {"outer": 1.0 + 4.0, "inner": 2.0}


def test_both_compositions_run_every_part_and_leave_brule_as_it_was(result: dict) -> None:
    assert ModulatedConv.forward is not straightforward.modulated
    for composition in ("brule", "straightforward"):
        parts = result["steps"]["joint"][composition]
        wanted = {f"1: {part}" for part in ("teacher", "g: field", "g: images", "g: points", "G, D, S", "backward")}
        assert parts.keys() >= wanted | {"1: R1", "2: E", "2: R_g", "2: R_b", "2: photometric", "2: optimiser"}
        assert set(result["steps"]["encoder"][composition]) <= {*pieces.PARTS, "total"}
        assert parts["total"] > 0
    assert result["steps"]["joint"]["images"] == 3 + 4 / 2


def test_the_tables_go_between_the_readme_s_markers(result: dict) -> None:
    text = "before\n<!-- training -->\nold\n<!-- /training -->\nafter\n"
    once = report.filled(text, json.loads(json.dumps(result)))
    assert "old" not in once and once.startswith("before\n") and once.endswith("after\n")
    assert "| R_b, coupled by transport |" in once and "images a second" in once
    assert report.filled(once, result) == once
    assert "<!-- training -->\n" in (Path(training.README).read_text(encoding="utf-8"))
    with pytest.raises(BruleError, match="markers"):
        report.filled("no markers", result)
