from .golden_section import GoldenSectionSampler, Step

__all__ = ["GoldenSectionSampler", "Step"]
