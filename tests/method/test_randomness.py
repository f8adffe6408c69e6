"""Randomness is a function of seed, iteration and purpose."""

from pathlib import Path

import numpy as np
import pytest
import torch

from brule.data.prepared import load
from brule.method import batches
from brule.method.batches import Batches, Order, derive, generator

CPU = torch.device("cpu")


def test_different_arguments_give_unrelated_seeds() -> None:
    seeds = {derive(s, i, p) for s in range(5) for i in range(50) for p in ("gan", "encoder")}
    assert len(seeds) == 500


def test_generators_repeat() -> None:
    draws = [torch.rand(3, generator=generator(1, 2, "x", torch.device("cpu"))) for _ in range(2)]
    assert torch.equal(*draws)


def test_an_epoch_visits_every_row_once() -> None:
    order = Order(10, 4, seed=0, purpose="x")
    seen = np.concatenate([order.rows(turn) for turn in range(5)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert list(seen[:10]) != list(seen[10:])


def test_rows_do_not_depend_on_what_was_asked_before() -> None:
    order = Order(10, 4, seed=0, purpose="x")
    late = order.rows(7).copy()
    order.rows(0)
    assert np.array_equal(order.rows(7), late)
    assert np.array_equal(Order(10, 4, seed=0, purpose="x").rows(7), late)


def test_a_batch_may_be_larger_than_the_data_set() -> None:
    rows = Order(3, 8, seed=0, purpose="x").rows(0)
    assert np.bincount(rows).min() >= 2


def test_images_that_stay_on_the_device_make_the_same_batches(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = load(project / "data/crops", "train", labels=True)
    faces.index.loc[::3, "framed"] = False
    assert batches.resident(faces.images, CPU) is None
    there = Batches(faces, torch.tensor([1, 0, 2, 4, 3]), 5, 0, "encoder", CPU)
    monkeypatch.setattr(batches, "fits", lambda images, device: True)
    images = batches.resident(faces.images, CPU)
    here = Batches(faces, torch.tensor([1, 0, 2, 4, 3]), 5, 0, "encoder", CPU, images)
    assert there.resident is None and here.resident is not None
    for turn in (0, 7):
        for name, value in vars(there.at(turn)).items():
            other = getattr(here.at(turn), name)
            assert torch.equal(value, other) and value.stride() == other.stride(), name


@pytest.mark.parametrize(("free", "fits"), [(8 * 3000, True), (8 * 3000 - 8, False)])
def test_images_stay_on_the_gpu_where_they_take_little_of_it(
    free: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10 * free))
    images = np.zeros((10, 10, 10, 3), np.uint8)
    assert batches.fits(images, torch.device("cuda")) is fits
    assert not batches.fits(images, CPU)
