"""What comes back from MLflow is what went in, and a store that is not there is one sentence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brule import config, tracking
from brule.errors import BruleError
from brule.tracking import past

Track = Callable[..., str]
PARAMS = Path(__file__).parents[2] / "params.yaml"


def test_a_finished_run_is_read_as_it_was_written(track: Track, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 9, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    id = track(
        "one",
        {"validation/nme": {20: 5.0, 10: 7.0}, "test/nme": {20: 6.5}},
        tags={"version": "1"},
        params={"data.source": "300w"},
        pictures={10: tmp_path / "0.png", 5: tmp_path / "1.png"},
    )
    store = past.read()
    (run,) = store.finished()
    assert (run.id, run.name, run.tags["version"], run.params["data.source"]) == (id, "one", "1", "300w")
    assert run.metrics == {"validation/nme": 5.0, "test/nme": 6.5}
    steps, values = store.course(run, "validation/nme")
    assert steps.tolist() == [10, 20] and values.tolist() == [7.0, 5.0]
    assert len(store.course(run, "no/such")[0]) == 0
    pictures = store.pictures(run, "samples")
    assert list(pictures) == [5, 10]
    assert (pictures[10] == pixels[0]).all() and (pictures[5] == pixels[1]).all()
    assert store.pictures(run, "other") == {}


def test_only_runs_that_ended_well_count_the_newest_first(track: Track) -> None:
    settings = config.read(PARAMS)
    with pytest.raises(ValueError), tracking.run(settings, "train", name="failed"):
        raise ValueError
    ids = [track("same"), track("same")]
    assert [run.id for run in past.read().finished()] == ids[::-1]


def test_what_a_resumed_run_told_twice_counts_once(track: Track) -> None:
    settings = config.read(PARAMS)
    id = track("one", {"validation/nme": {10: 7.0, 20: 6.0}})
    with tracking.run(settings, "train", resume_id=id) as run:
        run.metrics({"validation/nme": 5.5}, 20)
    store = past.read()
    steps, values = store.course(store.finished()[0], "validation/nme")
    assert steps.tolist() == [10, 20] and values.tolist() == [7.0, 5.5]


def test_a_store_that_is_not_there_is_one_sentence_and_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(BruleError, match=r"mlflow\.db: no run has been tracked here yet; train one"):
        past.read()
    assert not list(tmp_path.iterdir())
    (tmp_path / "mlflow.db").write_text("no database")
    with pytest.raises(BruleError, match=r"mlflow\.db: MLflow cannot open its store") as caught:
        past.read()
    assert "\n" not in str(caught.value)
