"""The paper's pictures, drawn again from one's own runs: `python pipelines/figure.py NAME`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from brule.stages.paper.request import Request


@dataclass(frozen=True)
class Figure:
    """One picture of the paper."""

    shows: str
    needs: str
    runs: bool = True
    """Drawn from runs, which --runs may name; else from one run's models."""


_MODELS = "models/ and the test images of data/crops, as a run of the pipeline leaves them"
FIGURES = {
    "fig3": Figure(
        "supervised training with and without the regularisers: the error over the iterations",
        "MLflow's runs of the rows supervised-plain and supervised, or those of --runs",
    ),
    "fig4": Figure(
        "faces with the landmarks found on them, and images of the GAN from the same landmarks", _MODELS, False
    ),
    "fig5": Figure("the same in one given style, --style; meant for a semi-supervised run", _MODELS, False),
    "fig6": Figure(
        "the ablation: the error beside the barycenter's, H(L_F ‖ L), R_b and R_g over the iterations",
        "MLflow's runs of the rows short, no-barycenter and no-geometry (and the others of that group), or of --runs",
    ),
    "fig7": Figure("the barycenter amid the heatmaps of eight faces", _MODELS, False),
    "fig8": Figure(
        "the landmarks of the same faces over the iterations, as of a collapse",
        "results/samples of the last run, such as pipelines/experiment.py collapse, or MLflow's pictures of --runs",
    ),
}


def overview() -> str:
    """What there is, a figure in two lines."""
    return "\n".join(f"{name}  {figure.shows}\n      from {figure.needs}" for name, figure in FIGURES.items())


def draw(name: str, request: Request) -> list[str]:
    """Write that figure; returns what its reader should know besides. Raises BruleError naming what is missing."""
    # each imports only what it needs: curves no torch, faces no MLflow
    if name in ("fig3", "fig6"):
        from brule.stages.paper import courses as curves

        return curves.fig3(request) if name == "fig3" else curves.fig6(request)
    if name == "fig8":
        from brule.stages.paper import courses as course

        return course.fig8(request)
    from brule.stages.paper import pictures

    return {"fig4": pictures.fig4, "fig5": pictures.fig5, "fig7": pictures.fig7}[name](request)
