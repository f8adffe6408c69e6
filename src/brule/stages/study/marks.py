"""Who works at a trial, and which trials lost their worker: a SIGKILL leaves a trial that runs for ever.

Every trial bears a mark, the user attribute `worker`: which process, on which machine. Whoever comes later looks
whether that process is still there.
"""

import os
import socket
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages._heartbeat import BaseHeartbeat, get_heartbeat_thread
from optuna.trial import FrozenTrial, TrialState, create_trial

_WORKER, LOST = "worker", "lost"


class Marked(BaseStorage):
    """A trial bears its worker's mark from its first moment: no kill can fall between the two."""

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        marked = template_trial or create_trial(state=TrialState.RUNNING, user_attrs={_WORKER: _here()})
        return super().create_new_trial(study_id, marked)  # type: ignore[safe-super]

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        done = super().set_trial_state_values(trial_id, state, values)  # type: ignore[safe-super]
        if done and state is TrialState.RUNNING:  # one that waited in the queue
            self.set_trial_user_attr(trial_id, _WORKER, _here())
        return done


@contextmanager
def asked(study: optuna.Study, space: Mapping[str, BaseDistribution]) -> Iterator[optuna.Trial]:
    """A new trial in `space`, for the body of the `with`: it gives signs of life meanwhile.

    It fails where the body raises, and is let go where that was an interrupt.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Heartbeat of storage")  # which `ask` knows from `optimize` alone
        trial = study.ask(fixed_distributions=dict(space))
    try:
        with get_heartbeat_thread(trial._trial_id, study._storage):
            yield trial
    except Exception:
        with suppress(UpdateFinishedTrialError):
            study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        raise
    except BaseException:
        let_go(study, trial)
        raise


def let_go(study: optuna.Study, trial: optuna.Trial | FrozenTrial) -> None:
    """End a trial that was cut short: it fails, with the user attribute `lost`, since its probe is not to blame."""
    with suppress(UpdateFinishedTrialError):  # another worker was faster
        study._storage.set_trial_user_attr(trial._trial_id, LOST, True)
        study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


def release_lost(study: optuna.Study, alone: bool = False) -> list[int]:
    """Let go the trials of dead workers, so that their probes are tried again; the numbers of those that have failed.

    A worker of this machine is dead when its process is gone, or the machine was restarted since; any worker of a
    database when it has given no sign of life for the grace period. Of others (another machine or container that writes
    the same journal) nothing is known here, nor of trials without a mark: they go on, unless the caller knows that it
    is `alone`. Any number of workers may call this at once.
    """
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    storage = study._storage
    stale = storage._get_stale_trial_ids(study._study_id) if isinstance(storage, BaseHeartbeat) else ()
    journal = isinstance(storage, JournalStorage)
    for trial in running:
        if alone or trial._trial_id in stale or _lost(trial.user_attrs.get(_WORKER), journal):
            let_go(study, trial)
    failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    return sorted({trial.number for trial in running} & {trial.number for trial in failed})


def _here() -> dict[str, Any]:
    """The mark of this process."""
    boot, space = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    return {
        "host": socket.gethostname(),
        "boot": boot.read_text().strip() if boot.exists() else None,
        "space": os.readlink(space) if space.is_symlink() else None,
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }


def _lost(worker: dict[str, Any] | None, journal: bool) -> bool:
    if worker is None:
        return False
    here = _here()
    if all(worker[key] == here[key] for key in ("host", "boot", "space")):
        return bool(_started(worker["pid"]) != worker["started"])
    # Machines of one name may share a database, and there the heartbeat tells.
    return journal and bool(worker["host"] == here["host"] and worker["boot"] != here["boot"])


def _started(pid: int) -> int | None:
    """When a process began, in ticks since the machine did; None where it is gone, or dead and not yet buried."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else int(fields[18])
