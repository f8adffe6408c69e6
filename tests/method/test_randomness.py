"""Randomness is a function of seed, iteration and purpose."""

import numpy as np
import torch

from brule.method.batches import Order, derive, generator


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
