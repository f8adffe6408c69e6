"""The table as Markdown: for every test set its floor and oracles, the rows as mean ± sd, then the anchors.

A row without a result has dashes in their place.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from brule.errors import BruleError
from brule.files import write_text
from brule.stages.table.plan import Job, Table
from brule.stages.table.results import Entry, Ledger, current

HEAD = ("run", "what training saw", "test NME, %", "test W₁, %", "validation NME, %", "minutes (threads)")
BOUNDS = {
    "floor": ("floor: the barycenter everywhere", "nothing of the image"),
    "oracle_similarity": ("oracle: the barycenter under its best similarity", "each test face's true pose"),
    "oracle_affine": ("oracle: the barycenter under its best affine map", "each test face's true affine frame"),
}
STALE, ALARM = "†", "‡"
LEGEND = {
    STALE: "measured with other parameters, or with another version of the method, than the present ones",
    ALARM: "a run of this row collapsed, or its detector sets off the collapse monitors; "
    "the numbers are those of the checkpoint that was kept, which may be from before the collapse",
}
NOTE = (
    "NME and W₁ are in % of the distance between the outer eye corners (W₁ is not halved), averaged over the images; "
    "“a ± b (n)” is the mean and the standard deviation over n runs; "
    "minutes are those of the run's own training, not counting the run that it starts from."
)


def publish(root: Path, name: str, table: Table, jobs: Sequence[Job], ledger: Ledger) -> list[Path]:
    """Write results/<name>.json, results/<name>.md and, between its markers, docs/results.md; returns what was written.

    Writes nothing as long as nothing is measured. Raises BruleError for a marker without its counterpart.
    """
    if not ledger.entries():
        return []
    page, document = root / "results" / f"{name}.md", root / "docs" / "results.md"
    with ledger.alone():
        entries = ledger.publish()
        text = render(table, jobs, entries, current(jobs, entries))
        write_text(page, f"# {table.title}\n\n{text}")
        return [ledger.file, page, *([document] if insert(document, name, text) else [])]


def render(table: Table, jobs: Sequence[Job], entries: Mapping[str, Entry], fresh: Collection[str]) -> str:
    """The table of these jobs, Markdown without a heading. `fresh`: the names of those whose result is current."""
    known = {job.name: entries[job.name] for job in jobs if job.name in entries}
    waiting = _waiting(table, jobs, known)
    lines, marks = [], set[str]()
    for source, count in dict.fromkeys((entry.source, entry.test["images"]) for entry in known.values()):
        here = {n: e for n, e in known.items() if (e.source, e.test["images"]) == (source, count)}
        body = _body(table, jobs, here, fresh, waiting.pop(source, []))
        marks |= {mark for mark in LEGEND if any(f" {mark}" in row[0] for row in body)}
        lines += [f"Measured on {count} test images of `{source}`:", "", *_grid(HEAD, body, 2), ""]
    if others := [f"`{name}`" for names in waiting.values() for name in names]:
        lines += [f"Not measured yet, on other images: {', '.join(others)}.", ""]
    lines += [" ".join([NOTE, *(f"{mark}: {LEGEND[mark]}." for mark in LEGEND if mark in marks)])]
    lines += [line for note in table.notes for line in ("", note)]
    if table.anchors:
        lines += ["", *_anchors(table)]
    return "\n".join(lines) + "\n"


def insert(path: Path, marker: str, text: str) -> bool:
    """Put `text` between `<!-- marker -->` and `<!-- /marker -->`. Without markers nothing changes; returns False."""
    begin, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    try:
        before, opened, rest = path.read_text(encoding="utf-8").partition(begin)
    except OSError:
        return False
    _, closed, after = rest.partition(end)
    if bool(opened) != bool(closed):
        raise BruleError(f"{path}: {begin} has no {end} after it; write both, or neither")
    if opened:
        write_text(path, f"{before}{begin}\n{text.strip()}\n{end}{after}")
    return bool(opened)


def _waiting(table: Table, jobs: Sequence[Job], known: Collection[str]) -> dict[str, list[str]]:
    """{source whose test images they are for: the names of the rows without a result}."""
    found: dict[str, list[str]] = {}
    for row in table.rows:
        own = [job for job in jobs if job.row is row]
        if not any(job.name in known for job in own):
            found.setdefault(own[0].parameters["data"]["source"], []).append(row.name)
    return found


def _body(
    table: Table,
    jobs: Sequence[Job],
    entries: Mapping[str, Entry],
    fresh: Collection[str],
    waiting: Collection[str],
) -> list[tuple[str, ...]]:
    body = [_bound(name, *words, list(entries.values())) for name, words in BOUNDS.items()]
    for group, heading in table.groups.items():
        lines: list[tuple[str, ...]] = []
        for row in table.rows:
            every = [entries[job.name] for job in jobs if job.row is row and job.name in entries]
            present = [run for run in every if run.name in fresh]
            if row.group == group and row.name in waiting:
                lines.append((row.title, row.saw, "–", "–", "–", "–"))
            elif row.group == group and every:
                runs = present or every  # a mean over current and stale runs would describe neither
                marks = f" {STALE}" * (not present) + f" {ALARM}" * any(run.alarms for run in runs)
                lines.append((row.title + marks, row.saw, *_numbers(runs)))
        if lines:
            body += [(f"*{heading}*", "", "", "", "", ""), *lines]
    return body


def _numbers(runs: Sequence[Entry]) -> tuple[str, ...]:
    threads = sorted({run.threads for run in runs})
    minutes = f"{fmean(run.seconds for run in runs) / 60:.1f} ({'–'.join(map(str, sorted({threads[0], threads[-1]})))})"
    nme = spread([run.test.get("nme") for run in runs], counted=True)
    w1, held = spread([run.test.get("w1") for run in runs]), spread([run.validation.get("nme") for run in runs])
    return nme, w1, held, minutes


def _bound(name: str, title: str, saw: str, runs: Sequence[Entry]) -> tuple[str, ...]:
    """The mean over the runs: X_b differs a little from seed to seed, and so do its floor and its oracles."""
    columns = ((run.test.get(f"{name}_nme") for run in runs), (run.test.get(f"{name}_w1") for run in runs))
    held = (run.validation.get(f"{name}_nme") for run in runs)
    means = (spread([fmean(known)] if (known := _known(column)) else []) for column in (*columns, held))
    return title, saw, *means, "–"


def spread(values: Iterable[Any], counted: bool = False) -> str:
    """“5.43 ± 0.05 (3)”: mean, sample standard deviation and count; a single value has no deviation, none is a dash."""
    known = _known(values)
    if not known:
        return "–"
    deviation = f" ± {stdev(known):.2f}" if len(known) > 1 else ""
    return f"{fmean(known):.2f}{deviation}" + (f" ({len(known)})" if counted else "")


def _known(values: Iterable[Any]) -> list[float]:
    return [float(value) for value in values if value is not None]


def _anchors(table: Table) -> list[str]:
    body = [
        (
            anchor.title,
            anchor.saw,
            *(f"{anchor.nme[split]:.2f}" if split in anchor.nme else "–" for split in table.splits),
        )
        for anchor in table.anchors
    ]
    head = ("reported by others, NME in %", "what training saw", *table.splits.values())
    return [*_grid(head, body, 2), *(["", table.splits_note] if table.splits_note else [])]


def _grid(head: Sequence[str], body: Sequence[Sequence[str]], words: int) -> list[str]:
    """A Markdown table whose first `words` columns are text and whose others are numbers."""
    rule = ["---"] * words + ["---:"] * (len(head) - words)
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *body)]
