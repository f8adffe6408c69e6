from .golden_section import GoldenSectionSampler, Step, forgive

__all__ = ["GoldenSectionSampler", "Step", "forgive"]
