"""The fused optimisers: the same steps as the plain ones, which rests on gradients lying as their parameters do."""

import io
from collections.abc import Callable

import pytest
import torch
from torch.optim import Optimizer

from brule import config
from brule.method.context import Networks, Optimisers

NETWORKS = ("E", "G", "D", "S", "So")


def build(settings: config.Config) -> tuple[Networks, Optimisers]:
    torch.manual_seed(0)
    networks = Networks.build(settings, 5, torch.device("cpu"))
    return networks, Optimisers.build(networks, settings)


def backward(n: Networks, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    images = torch.randn(4, 3, 64, 64, generator=random)
    maps = torch.rand(4, 5, 16, 16, generator=random)
    for name in NETWORKS:
        getattr(n, name).zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16):
        fakes = n.G(maps, n.So(torch.randn(4, 8, generator=random)) + n.S(images))
        outputs = (*n.E(images), n.D(fakes, maps), n.D(images, maps))
        sum((out.float().square().mean() for out in outputs), torch.zeros(())).backward()


def descend(optimisers: list[Optimizer]) -> None:
    for optimiser in optimisers:
        optimiser.step()


def unfused(optimiser: Optimizer) -> Optimizer:
    groups = [dict(group, fused=False) for group in optimiser.param_groups]
    return type(optimiser)(groups)


def state(n: Networks) -> list[torch.Tensor]:
    return [p.detach().clone() for name in NETWORKS for p in getattr(n, name).parameters()]


@pytest.fixture
def settings(tiny: Callable[..., config.Config]) -> config.Config:
    return tiny()


def test_fused_steps_are_the_plain_ones(settings: config.Config) -> None:
    (one, o), (other, p) = build(settings), build(settings)
    fused, plain = list(vars(o).values()), [unfused(x) for x in vars(p).values()]
    for seed in range(3):
        for networks, optimisers in ((one, fused), (other, plain)):
            backward(networks, seed)
            descend(optimisers)
        for optimiser in fused:
            for group in optimiser.param_groups:
                assert group["fused"]
                for w in group["params"]:
                    moments = optimiser.state[w]
                    assert w.grad.stride() == w.stride() == moments["exp_avg"].stride(), "the fused kernel would mix up"
        torch.testing.assert_close(state(one), state(other), atol=1e-6, rtol=1e-4)


def test_optimisers_that_were_saved_go_on_bit_equal(settings: config.Config) -> None:
    results = []
    for interrupted in (False, True):
        networks, o = build(settings)
        optimisers = list(vars(o).values())
        for seed in range(4):
            if interrupted and seed == 2:
                stream = io.BytesIO()
                torch.save([x.state_dict() for x in optimisers], stream)
                stream.seek(0)
                optimisers = list(vars(Optimisers.build(networks, settings)).values())
                for optimiser, saved in zip(optimisers, torch.load(stream, weights_only=True), strict=True):
                    optimiser.load_state_dict(saved)
            backward(networks, seed)
            descend(optimisers)
        results.append(state(networks))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
