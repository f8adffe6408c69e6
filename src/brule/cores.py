"""How many CPU cores this process may use."""

import os


def available() -> int:
    """The cores, which can be fewer than the machine has: a scheduler or a container gives some of them.

    Processes that torchrun starts together on a machine share its cores.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, allowed // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
