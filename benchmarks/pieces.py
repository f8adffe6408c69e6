"""The parts of a training step: where they are found in `brule`, and what takes their place in the other composition.

Both compositions run `brule.method`'s own Algorithms 1 and 2; the second with these pieces exchanged, in float32, with
contiguous memory and plain optimisers. A stopwatch round each piece gives its share.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest import mock

import straightforward
import torch

from brule.maths import heatmaps
from brule.maths.warps import Warp
from brule.method import algorithm2, context, geometry, losses
from brule.method.batches import Batches
from brule.method.geometry import Geometry
from brule.method.training import Training
from brule.networks import discriminator, generator, hourglass, layers, style

REST = "the rest"


class Piece(NamedTuple):
    """A function of `brule`, the part that its time counts for (None: that of its caller), and its replacement."""

    part: str | None
    owner: Any
    name: str
    replacement: Callable[..., Any] | None = None


def pieces(training: Training) -> list[Piece]:
    """Every piece of a step of `training`."""
    n, o, plain = training.networks, training.optimisers, straightforward
    timed = [
        Piece("batches", Batches, "at"),
        Piece("teacher", Geometry, "teacher"),
        Piece("g: field", Warp, "sample", plain.sample),
        Piece("g: images", Warp, "images"),
        Piece("g: images", plain.Warp, "images"),
        Piece("g: points", Warp, "points"),
        Piece("g: points", plain.Warp, "points"),
        Piece("teacher", plain.Warp, "origins"),
        *(Piece("photometric", module, "jitter", plain.jitter) for module in (geometry, algorithm2)),
        *(Piece("photometric", module, "cutout", plain.cutout) for module in (geometry, algorithm2)),
        Piece("teacher", n.E_ema, "forward"),
        Piece("E", n.E, "forward"),
        *(Piece("G, D, S", network, "forward") for network in (n.G, n.D, n.S, n.So)),
        Piece("R_g", losses, "geometric_regulariser", plain.geometric_regulariser),
        Piece("R_b", losses, "barycenter_regulariser", plain.barycenter_regulariser),
        Piece("backward", torch.Tensor, "backward"),
        Piece("optimiser", context, "clip_grad_norm_"),
        *(Piece("optimiser", optimiser, "step") for optimiser in vars(o).values()),
        Piece("averages", context.Average, "update_parameters", plain.update_parameters),
    ]
    inside = [
        Piece(None, heatmaps, "soft_argmax", plain.soft_argmax),
        Piece(None, layers, "convolve", plain.convolve),
        Piece(None, layers.ModulatedConv, "forward", plain.modulated),
        Piece(None, layers.ToRGB, "forward", plain.to_rgb),
        *(
            Piece(None, m, "channels_last", torch.Tensor.contiguous)
            for m in (discriminator, generator, hourglass, style)
        ),
    ]
    return timed + inside


PARTS = (
    *("batches", "teacher", "g: field", "g: images", "g: points", "photometric", "E", "G, D, S", "R_g", "R_b"),
    *("backward", "R1", "optimiser", "averages", REST),
)
"""In the order of a step."""


class Stopwatch:
    """Seconds of each part. One that runs inside another counts for itself alone, so that all add up to the whole."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._mark = 0.0

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, its time counted for `part`."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.running(part):
                return function(*args, **kwargs)

        return wrapped

    @contextmanager
    def running(self, part: str) -> Iterator[None]:
        self._turn()
        self._open.append(part)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def _turn(self) -> None:
        """Give the time since the last turn to the innermost part."""
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._mark
        self._mark = now


@contextmanager
def installed(training: Training, watch: Stopwatch, exchanged: bool) -> Iterator[None]:
    """Time the pieces of a step; `exchanged`: with the straightforward ones in place."""
    with ExitStack() as stack:
        for part, owner, name, replacement in pieces(training):
            chosen = replacement if exchanged and replacement else getattr(owner, name)
            stack.enter_context(mock.patch.object(owner, name, watch.timed(part, chosen) if part else chosen))
        yield
