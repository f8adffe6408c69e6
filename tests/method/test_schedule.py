"""The schedule against counting by hand."""

from typing import Any

import pytest

from brule.config import Stage
from brule.method.schedule import Schedule

ASKED: dict[str, Any] = {"target": "teacher", "warp": "paper"}


def schedule() -> Schedule:
    warm = Stage(iterations=10, learning_rate=1e-3, **ASKED)
    skipped = Stage(iterations=0, learning_rate=1e-3, **ASKED)
    joint = Stage(iterations=400, encoder_every=3, gan_every=2, learning_rate=1e-2, **ASKED)
    return Schedule({"warm": warm, "skipped": skipped, "joint": joint}, ramp=100)


def test_stages_follow_each_other_and_empty_ones_are_skipped() -> None:
    names = [schedule().at(i).name for i in (0, 9, 10, 409)]
    assert names == ["warm", "warm", "joint", "joint"]
    assert schedule().iterations == 410
    with pytest.raises(IndexError):
        schedule().at(410)


def test_gan_turns_are_counted_one_by_one() -> None:
    moments = [schedule().at(i) for i in range(410)]
    turns = [m.gan_turn for m in moments if m.gan]
    assert turns == list(range(200))


def test_the_encoder_runs_every_third_iteration_of_the_joint_stage() -> None:
    assert [i for i in range(10, 20) if schedule().at(i).encoder] == [10, 13, 16, 19]


def test_the_gan_losses_rise_from_zero_only_where_the_gan_runs() -> None:
    assert schedule().at(5).ramp == 0
    assert schedule().at(10).ramp == 0
    assert schedule().at(10 + 100).ramp == pytest.approx(0.5)
    assert schedule().at(400).ramp == 1


def test_rate_warms_up_then_falls() -> None:
    rates = [schedule().at(10 + i).encoder_rate for i in range(400)]
    assert max(rates) == pytest.approx(1e-2)
    assert rates[0] == pytest.approx(1e-4)
    assert rates[-1] == pytest.approx(5e-4, rel=0.05)
    assert rates[100:] == sorted(rates[100:], reverse=True)
