"""What torchrun starts for tests/method/test_ranks.py: several processes that train as one, in the current folder.

`together.py steps CASE.json …` takes the steps of each case and leaves CASE.pt; `together.py train CASE.json` is the
stage. Steps are plain gradient descent: Adam divides a gradient by its own size, rounding included.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from brule import config, terminal
from brule.method import ranks
from brule.method.context import Networks, Optimisers
from brule.method.training import Training
from brule.stages.train import read_inputs, train

RATE = 1e-2
WRITING = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "shutil.copyfile", "shutil.copytree"}


def plain(n: Networks, parameters: config.Config) -> Optimisers:
    """In the place of Optimisers.build."""
    groups = {"E": [n.E], "G": [n.G, n.So], "D": [n.D], "S": [n.S]}
    found = {name: [p for module in modules for p in module.parameters()] for name, modules in groups.items()}
    return Optimisers(**{name: torch.optim.SGD(weights, RATE, fused=True) for name, weights in found.items()})


def stepped(settings: config.Config, device: torch.device) -> dict[str, Any]:
    """A training's state and its losses after the last step."""
    training = Training(settings, read_inputs(settings)[0], device)
    while not training.over:
        moment = training.schedule.at(training.iteration)
        training.step(moment)
    training.log(moment)
    training.validate(moment)
    return training.state()


def read(case: str) -> config.Config:
    return config.parse(json.loads(Path(case).read_text(encoding="utf-8")))


def differing(state: dict[str, Any]) -> int:
    """1 where this process's encoder is not bit for bit that of rank 0."""
    encoder = b"".join(tensor.numpy().tobytes() for tensor in state["modules"]["E"].values())
    return int(encoder != ranks.told(lambda: encoder))


def forbid_writing() -> None:
    here = str(Path.cwd())

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event in WRITING or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        named = writes and isinstance(arguments[0], str | bytes | os.PathLike)
        path = os.path.abspath(os.fsdecode(arguments[0])) if named else ""
        if path.startswith(here):
            os.write(2, f"{event} {path}\n".encode())
            os._exit(3)

    sys.addaudithook(look)


def main() -> None:
    torch.set_num_threads(1)
    sys.modules["mlflow"] = None  # type: ignore[assignment]
    Optimisers.build = staticmethod(plain)  # type: ignore[assignment, method-assign]
    what, *cases = sys.argv[1:]
    if os.environ["RANK"] != "0":
        forbid_writing()
    if what == "train":
        fatal, step = os.environ.get("KILLED_AT"), Training.step

        def mortal(training: Training, moment: Any) -> None:
            step(training, moment)
            if ranks.rank() == 1 and training.iteration == int(fatal or -1):
                os.kill(os.getpid(), 9)

        Training.step = mortal  # type: ignore[method-assign]
        train(read(cases[0]))
        return
    with ranks.together(torch.device("cpu")) as device:
        for kind in (torch.float32, torch.bfloat16, torch.bool):
            everyone = torch.arange(24).view(6, 4).to(kind)
            assert torch.equal(ranks.whole(ranks.own(everyone)), everyone)
        for case in cases:
            state = stepped(read(case), device)
            assert ranks.largest(differing(state)) == 0, "the processes have parted"
            if ranks.rank() == 0:
                torch.save(state, Path(case).with_suffix(".pt"))


if __name__ == "__main__":
    terminal.main(main, together=True)
