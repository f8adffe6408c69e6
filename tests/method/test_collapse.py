"""What a run's validations say in the end: which alarms count, which fired first, and what was written."""

import pytest

from brule.method.collapse import Watch, collapse, columns

SPREAD = "spread is 0.4, below 0.7: the predicted shapes have shrunk; look at train.calibrate, loss.c5"
ENTROPY = "entropy is 6.1, above 5: heatmaps stay spread out; look at loss.c7"


def history(*validations: list[str]) -> list[dict[str, float | str]]:
    """A validation at every 100th iteration, and between them rows of losses."""
    rows: list[dict[str, float | str]] = []
    for turn, alarms in enumerate(validations, 1):
        rows += [{"iteration": 100 * turn - 50, "encoder/R_g": 1.0}, {"iteration": 100 * turn, **columns(alarms)}]
    return rows


def test_a_healthy_end_is_no_collapse_whatever_the_young_encoder_did():
    assert collapse(history([ENTROPY, SPREAD], [ENTROPY], [])) is None
    assert collapse(history([], [SPREAD], [])) is None
    assert collapse([]) is None


def test_a_late_collapse_names_the_monitor_that_fired_first_and_where_to_look():
    found = collapse(history([ENTROPY], [], [SPREAD], [ENTROPY, SPREAD]))
    assert found is not None
    assert (found.iteration, found.monitor, found.late) == (300, "spread", True)
    assert found.alarms == [SPREAD, ENTROPY]
    text = found.sentence(best=200, healthy=True)
    assert "spread fired at iteration 300" in text
    assert "look at train.calibrate, loss.c5" in text
    assert "healthy checkpoint of iteration 200" in text


def test_a_run_that_was_never_healthy_says_so():
    found = collapse(history([ENTROPY, SPREAD], [ENTROPY], [ENTROPY, SPREAD]))
    assert found is not None
    assert (found.iteration, found.monitor, found.late) == (100, "entropy", False)
    text = found.sentence(best=100, healthy=False)
    assert "entropy has been firing since the first validation" in text
    assert "No checkpoint was healthy" in text


def test_an_encoder_without_a_finite_answer_has_collapsed():
    found = collapse(history([], ["encoder is without a finite answer; look at train.precision"]))
    assert found is not None
    assert found.monitor == "encoder"
    assert "look at train.precision" in found.sentence(100, True)


@pytest.mark.parametrize(
    ("validations", "news"),
    [
        ([[ENTROPY], [ENTROPY, SPREAD], [ENTROPY, SPREAD]], [[], [SPREAD], []]),
        ([[], [SPREAD], [], [SPREAD]], [[], [SPREAD], [], [SPREAD]]),
    ],
)
def test_news_are_the_monitors_that_were_within_their_limits_before(validations, news):
    watch = Watch()
    told = [watch.news(row) for row in history(*validations)]
    assert told[1::2] == news
    assert not any(told[::2])
