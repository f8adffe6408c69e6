"""Carry the runs of table1 over, once, from the ledger of commit 6469c50 into the present one.

At that commit every result was current: measured with the parameters that its table, experiments and params.yaml state.
This script reads those from git, gives each parameter its present name, and carries a run over only if all of them
equal what the committed table states for the same run. The method is the same to the last digit, so its version is 1.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from brule.config import flatten, parse
from brule.files import sha_lines, write_text
from brule.stages import table
from brule.stages.experiments import merge
from brule.stages.table.plan import ELSEWHERE, FOLDER, Job
from brule.stages.table.results import text

COMMIT, TABLE, VERSION = "6469c5000c699ad08dfe8d9f093ac1ea7e5d5111", "table1", 1
MOVED = {
    "train.stages": "stages",
    "model.generator": "model.gan",
    "model.discriminator": "model.gan",
    **{
        f"train.{name}": f"optimiser.{name}"
        for name in (
            *("ema", "generator_ema", "generator_rate", "discriminator_rate", "style_rate"),
            *("momentum", "weight_decay", "clip"),
        )
    },
    **{f"train.{name}": f"augment.{name}" for name in ("jitter", "cutout", "flip")},
    **{
        f"train.{name}": f"machine.{name}"
        for name in ("device", "precision", "threads", "log_every", "sample_every", "save_every")
    },
}
"""Old name, or group of names → the present one."""
GONE = {"loss.ridge": 1e-3, "tuning.trials": 40}
"""Old names that are constants now, or options of a command, with the value that each run had."""
RENAMED = {
    ("model.condition", "sparse"): ("model.raw_condition", None),
    ("model.condition", "raw"): ("model.raw_condition", True),
    ("loss.detach_fake", True): ("loss.fake_gradient", None),
    ("loss.detach_fake", False): ("loss.fake_gradient", True),
}
"""(old name, value) → (present name, value)."""
OFF = {
    **dict.fromkeys(("prepare.halves", "loss.two_sided", "loss.detach_affine", "loss.fake_gradient"), False),
    **dict.fromkeys(("loss.mismatch", "loss.cycle", "loss.decorrelation", "train.unlabelled"), 0),
    **dict.fromkeys(("stages.*.gan_every", "stages.*.modes"), 0),
    **dict.fromkeys(("stages.*.project", "stages.*.regularise", "model.raw_condition"), False),
    **dict.fromkeys(("stages.*.encoder_every", "stages.*.keep", "train.adversarial_every"), 1),
    **dict.fromkeys(("warp.*.elastic", "warp.*.correlation", "warp.*.amplitude"), 0),
    **{"tuning.step": 0.5, "tuning.tolerance": 0.5, "tuning.directions": 5},
}
"""What used to be written out where a switch is now left out."""


def main() -> None:
    root = Path()
    read = table.read(root, TABLE)
    jobs, old = (
        table.plan(root, TABLE, read),
        {run["name"]: run for run in json.loads(shown(f"results/{TABLE}.json"))["runs"]},
    )
    rows = {row["name"]: row for row in yaml(f"{FOLDER / TABLE}.yaml")["rows"]}
    carried: list[table.Entry] = []
    refused = [f"{name}: the present table has no such run" for name in sorted(set(old) - {job.name for job in jobs})]
    for job in jobs:
        if job.name not in old:
            refused.append(f"{job.name}: was not measured at {COMMIT}")
        elif wrong := list(disagreements(job, rows[job.row.name])):
            refused += [f"{job.name}: {sentence}" for sentence in wrong]
        else:
            carried.append(entry(job, old))
    ledger = table.Ledger(root, TABLE)
    for path in ledger.folder.glob("*.json"):  # of the old form; the committed ledger has the same numbers
        if "digest" in json.loads(path.read_text(encoding="utf-8")):
            path.unlink()
    write_text(ledger.file, text(sorted(carried, key=lambda run: run.name)))
    print("\n".join([*refused, f"{len(carried)} of {len(old)} runs are in {ledger.file}"]))
    sys.exit(bool(refused))


def disagreements(job: Job, row: Mapping[str, Any]) -> Iterator[str]:
    """The parameters, under their present names, that had another value than the present table states."""
    raw = merge(yaml("params.yaml"), yaml(f"experiments/{row['experiment']}.yaml") or {})
    raw = merge(raw, row.get("runs", [{}])[job.index])
    before: dict[str, Any] = {}
    for key, value in leaves(raw):
        if key in GONE:
            if value != GONE[key]:
                yield f"{key} was {value!r}, not {GONE[key]!r}"
            continue
        name, value = RENAMED.get((key, value) if isinstance(value, str | bool) else (key, ""), (moved(key), value))
        if before.setdefault(name, value) != value:
            yield f"{name} has two old values, {before[name]!r} and {value!r}"
    ours, now = settled(before), settled(flatten(parse(job.parameters)))
    for key in sorted({*ours, *now}):
        if ours.get(key) != now.get(key):
            yield f"{key} was {ours.get(key)!r} and is {now.get(key)!r}"


def settled(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that count for this run, without what is off, under either way to write that."""
    running = {
        key.split(".")[1] for key, value in flat.items() if key.endswith(".iterations") and "stages." in key and value
    }
    selves = any(flat[f"stages.{stage}.target"] == "self" for stage in running)
    found = {}
    for key, value in flat.items():
        section, _, rest = key.partition(".")
        name, _, last = rest.partition(".")
        pattern = f"{section}.*.{last}" if section in ("stages", "warp") else key
        out = (
            value is None
            or any(f"{key}.".startswith(f"{group}.") for group in ELSEWHERE)
            or (pattern in OFF and value == OFF[pattern])
            or (section == "stages" and name not in running)
            or (last == "correlation" and section == "warp" and not flat[f"warp.{name}.elastic"])
            or (key == "loss.two_sided" and not selves)  # asks something of the target `self` alone
            or (key == "data.extra.use" and not flat.get("data.extra.source"))
        )
        if not out:
            found[key] = list(value) if isinstance(value, tuple | list) else value
    return found


def entry(job: Job, old: Mapping[str, Mapping[str, Any]]) -> table.Entry:
    was, lists = old[job.name], job.parameters["prepare"]["labelled"]
    kept = ("source", "test", "validation", "alarms", "seconds", "threads", "experiment", "mlflow_run_id", "weights")
    return table.Entry(
        row=job.row.name,
        run=job.index,
        version=VERSION,
        commit=COMMIT,
        parameters=dict(job.counted),
        initial=None if job.initial is None else old[job.initial]["weights"],
        labelled=None if lists is None else sha_lines(shown(lists)),
        finished=was["finished"],
        **{key: was[key] for key in kept},
    )


def moved(key: str) -> str:
    group = next((group for group in MOVED if f"{key}.".startswith(f"{group}.")), None)
    return key if group is None else MOVED[group] + key.removeprefix(group)


def leaves(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def yaml(path: str) -> Any:
    return YAML(typ="safe").load(shown(path))


def shown(path: str) -> bytes:
    return subprocess.run(["git", "show", f"{COMMIT}:{path}"], capture_output=True, check=True).stdout


if __name__ == "__main__":
    main()
