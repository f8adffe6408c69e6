"""Which of the paper's figures can be drawn again, what each shows, and what it is drawn from."""

from dataclasses import dataclass

from brule.stages.paper import Request


@dataclass(frozen=True)
class Figure:
    """One picture of the paper."""

    shows: str
    needs: str
    runs: bool = True
    """Whether it is drawn from runs, which --runs may name, and not from the models of one run."""


_MODELS = "models/ and the test images of data/crops, as a run of the pipeline leaves them"
FIGURES = {
    "fig3": Figure(
        "supervised training with and without the regularisers: the error over the iterations",
        "MLflow's runs of the rows supervised-plain and supervised, or those of --runs",
    ),
    "fig4": Figure(
        "images with the landmarks found on them, and images that the GAN makes of the same landmarks", _MODELS, False
    ),
    "fig5": Figure("the same in one given style, --style; meant for a semi-supervised run", _MODELS, False),
    "fig6": Figure(
        "the ablation: the error beside the barycenter's, H(L_F ‖ L), R_b and R_g over the iterations",
        "MLflow's runs of the rows short, no-barycenter and no-geometry (and the others of that group), or of --runs",
    ),
    "fig7": Figure("the barycenter amid the heatmaps of eight images", _MODELS, False),
    "fig8": Figure(
        "the landmarks of the same images over the iterations, for example of a collapse",
        "results/samples of the last run, such as pipelines/experiment.py collapse, or MLflow's pictures of --runs",
    ),
}


def overview() -> str:
    """The figures, each in two lines."""
    return "\n".join(f"{name}  {figure.shows}\n      from {figure.needs}" for name, figure in FIGURES.items())


def draw(name: str, request: Request) -> list[str]:
    """Write that figure; returns what its reader should know besides. Raises BruleError naming what is missing."""
    # Each imports only what it needs: courses no torch, pictures no MLflow.
    if name in ("fig3", "fig6", "fig8"):
        from brule.stages.paper import courses

        return {"fig3": courses.fig3, "fig6": courses.fig6, "fig8": courses.fig8}[name](request)
    from brule.stages.paper import pictures

    return {"fig4": pictures.fig4, "fig5": pictures.fig5, "fig7": pictures.fig7}[name](request)
