"""The model card says what was measured, and nothing else."""

from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML
from torch import nn

from brule.data.schemes import Scheme
from brule.detector.model import Detector
from brule.stages import card
from brule.stages.gan_scores import UNLIKENED, UNMEASURED_SAMPLES
from brule.stages.scores import UNMEASURED

SCORES = {
    "nme": 7.123, "w1": 5.0, "floor_nme": 17.5, "oracle_similarity_nme": 8.25, "oracle_affine_nme": 7.75,
    "auc_08": 0.25, "failure_08": 0.5, "failure_10": 0.125, "images": 500, "parts": {"jaw": 9.5, "nose": 4.25},
}  # fmt: skip
LIKENESS = {"frechet": 152.5, "frechet_floor": 5.25, "frechet_images": 417}
MANIFEST = {"source": "synthetic", "licence": "CC0: rendered, no person", "counts": {"train": 3000}, "extra": None}
TRAINED = {"mlflow_run_id": "f" * 32, "seconds": 312.5}


def detector(mode: str = "unsupervised", **training: Any) -> Detector:
    scheme = Scheme.plain([f"p{k}" for k in range(7)])
    return Detector(
        nn.Identity(), np.zeros((7, 2), np.float32), scheme, 64, 32, {"mode": mode, "fingerprint": "abc123", **training}
    )


def report(test: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "test": test,
        "validation": SCORES | {"images": 300},
        "monitors": {},
        "alarms": [],
        "images_per_second": 812.0,
        "samples": {"nme": 6.625, "nme_floor": 26.5, "drift": 5.5, "diversity": 0.75, "shapes": 202, **LIKENESS},
    } | changes


def front(text: str) -> dict[str, Any]:
    _, block, _ = text.split("---\n", 2)
    loaded: dict[str, Any] = YAML(typ="safe").load(block)
    return loaded


def test_the_front_matter_is_that_of_hugging_face() -> None:
    matter = front(card.write(detector(), report(SCORES), MANIFEST, TRAINED))
    assert {"library_name", "pipeline_tag", "license", "license_name", "tags", "model-index"} == set(matter)
    assert matter["pipeline_tag"] == "keypoint-detection" and matter["library_name"] == "brule"
    assert matter["tags"] == ["landmarks", "landmark-detection", "unsupervised"]
    index = matter["model-index"][0]
    result = index["results"][0]
    assert set(index) == {"name", "results"} and set(result) == {"task", "dataset", "metrics"}
    assert result["task"]["type"] == "keypoint-detection"
    assert result["dataset"] == {"name": "synthetic", "type": "synthetic", "split": "test"}
    assert {m["type"]: m["value"] for m in result["metrics"]} == {
        "nme": 7.123, "w1": 5.0, "auc_08": 0.25, "failure_08": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("manifest", "initial", "name"),
    [
        ({"licence": "MIT (rendered by brule)"}, None, None),
        ({"licence": "MIT (rendered by brule)"}, "another's fingerprint", "mit"),
        ({"licence": "MIT", "extra": {"source": "b", "use": "join", "licence": "research only"}}, None,
         "mit-and-research-only"),
        ({"licence": "the user's own"}, None, "the-users-own"),
        ({"licence": None}, None, "that-of-the-training-data"),
        ({"licence": "CC0: rendered, no person"}, None, "cc0-rendered-no-person"),
    ],
)  # fmt: skip
def test_the_weights_have_the_licence_of_what_they_were_made_from(
    manifest: dict[str, Any], initial: str | None, name: str | None
) -> None:
    matter = front(card.write(detector(initial=initial), report(SCORES), {"source": "a", "extra": None} | manifest, {}))
    wanted = {"license": "mit"} if name is None else {"license": "other", "license_name": name}
    assert {key: matter[key] for key in matter if key.startswith("license")} == wanted


def test_its_sections_are_those_that_a_reader_looks_for() -> None:
    text = card.write(detector(), report(SCORES), MANIFEST, TRAINED)
    heads = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert heads[:5] == ["Intended use", "Limits", "How to use it", "Training data and licence", "Evaluation"]
    assert 'brule.load("models/detector.safetensors")' in text and 'detector.predict("photo.jpg")' in text
    assert "\nbrule predict photo.jpg" in text and "percentages of the diagonal of the box around the landmarks" in text


def test_numbers_stand_beside_floor_and_oracles() -> None:
    text = card.write(detector(), report(SCORES), MANIFEST, TRAINED)
    assert "| **detector** | 7.12 | 5.00 | 7.12 | 5.00 |" in text
    for row in (
        "floor: barycenter everywhere | 17.50 |",
        "oracle: best similarity | 8.25 |",
        "| 9.50 | 4.25 |",
    ):
        assert row in text
    assert "59 % below the floor of 17.50 %" in text
    assert "Measured on 500 labelled test images and 300 labelled validation images" in text
    assert "50.0 % of the images have an error above 8 %" in text
    assert "abc123" in text and "f" * 32 in text


def test_every_error_stands_with_its_number_of_photos_and_few_come_with_a_warning() -> None:
    many = card.write(detector(), report(SCORES | {"margin": 0.214}), MANIFEST, TRAINED)
    assert (
        "Its error of 7.12 % (± 0.21, 500 photos) is 59 %" in many
        and "interval of the test NME is 6.91 to 7.34 %" in many
    )
    assert "| error, % | test NME (500 photos) | test W₁ (500 photos) | validation NME (300 photos) |" in many
    assert "caution" not in many
    few = card.write(detector(), report(SCORES | {"images": 6}, validation=SCORES | {"images": 1}), MANIFEST, TRAINED)
    assert "**Read it with caution: the test error rests on 6 photos and the validation error rests on 1 photo." in few
    assert "Label more photos, or raise `prepare.test` or `prepare.validation`." in few
    assert "caution" not in card.write(detector(), report(SCORES | {"images": 20}), MANIFEST, TRAINED)


def test_the_card_says_what_the_file_says_of_its_training() -> None:
    facts = {"source": "300w and celeba", "images": 900, "labelled": 12, "shapes": 800}
    text = card.write(detector("semi-supervised", **facts), report(SCORES), MANIFEST, TRAINED)
    assert "Trained (semi-supervised) on 900 images of `300w and celeba`, 12 of them with their landmarks, and" in text
    older = card.write(detector(), report(SCORES), MANIFEST, TRAINED)
    assert "What it was trained on is not on record in its file beyond its mode, unsupervised." in older


@pytest.mark.parametrize("nme", [17.5, 30.0])
def test_a_detector_that_learned_nothing_is_called_so(nme: float) -> None:
    text = card.write(detector(), report(SCORES | {"nme": nme}), MANIFEST, TRAINED)
    assert "does not beat the floor" in text and "has learned nothing" in text and "below the floor of" not in text


def test_without_landmarks_nothing_is_claimed() -> None:
    text = card.write(detector(), report(UNMEASURED, validation=UNMEASURED), MANIFEST, {})
    assert "model-index" not in front(text)
    assert "no landmarks to measure against" in text and "Its error is unknown" in text
    assert "None" not in text and "nan" not in text.lower().split()


def test_it_says_what_training_was_allowed_to_see() -> None:
    unsupervised = card.write(detector(), report(SCORES), MANIFEST, TRAINED)
    assert "No training image came with its own landmarks" in unsupervised
    assert "300 labelled validation images" in unsupervised, "choosing the checkpoint used labels: that is said, too"
    supervised = card.write(detector("supervised"), report(SCORES), MANIFEST, TRAINED)
    assert "The labelled training images with their landmarks." in supervised
    extra = {"extra": {"source": "celeba", "use": "join", "licence": "research only"}}
    both = card.write(detector(), report(SCORES), MANIFEST | extra, TRAINED)
    assert "Images from `celeba`, without landmarks, were used together with" in both and "research only" in both


def test_the_images_of_the_gan_have_their_scores_where_there_is_one() -> None:
    text = card.write(detector(), report(SCORES), MANIFEST, TRAINED)
    assert (
        "| G(shape, z) | 6.62 | 26.50 | 5.50 | 0.75 | 152.50 | 5.25 |" in text
        and "417 images by G" in text
        and "202 validation shapes" in text
    )
    alone = {"nme": 6.625, "nme_floor": 26.5, "drift": 5.5, "diversity": None, "shapes": 202, **UNLIKENED}
    few = card.write(detector(), report(SCORES, samples=alone), MANIFEST, TRAINED)
    assert "| 5.50 | – | – | – |" in few and "Fréchet distance:" not in few
    blind = card.write(detector(), report(SCORES, validation=UNMEASURED), MANIFEST, TRAINED)
    assert "202 unpaired shapes" in blind
    without = card.write(detector(), report(SCORES, samples=UNMEASURED_SAMPLES), MANIFEST, TRAINED)
    assert "GAN" not in without and "G(shape" not in without


def test_an_alarm_is_on_the_card() -> None:
    text = card.write(detector(), report(SCORES, alarms=["spread is 0.4, below 0.7: shrunk"]), MANIFEST, TRAINED)
    assert "spread is 0.4, below 0.7" in text
