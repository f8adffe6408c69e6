"""The sampler keeps what Optuna promises of every sampler of a single objective."""

from collections.abc import Callable

import pytest
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase

from brule.method.golden_section import GoldenSectionSampler


class TestConformance(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: GoldenSectionSampler(seed=0)

    # A categorical parameter never enters the search, so it is never sampled together with the others.
    test_sample_relative_categorical = None
    test_sample_relative_mixed = None
