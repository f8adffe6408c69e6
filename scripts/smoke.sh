#!/usr/bin/env bash
# The whole pipeline at smoke scale in a clean clone of the last commit, then once more, where no stage may run.
# usage: scripts/smoke.sh [EXPERIMENT [-S key=value …]]      (default: smoke)
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export PATH="$root/.venv/bin:$PATH"
unset MLFLOW_TRACKING_URI DVC_ROOT DVC_EXP_NAME

[ -z "$(git -C "$root" status --porcelain)" ] || echo "smoke: what is not committed takes no part in this" >&2
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
git clone --quiet "$root" "$work/brule"
cd "$work/brule"

[ $# -gt 0 ] || set -- smoke
PYTHONPATH=src python pipelines/experiment.py "$@" --write
SECONDS=0
dvc repro
PYTHONPATH=src python pipelines/report.py
echo "smoke: the whole pipeline took $SECONDS s"

again="$(dvc repro 2>&1)" || { echo "$again" >&2; exit 1; }
if grep -q "Running stage" <<<"$again" || ! grep -q "up to date" <<<"$again"; then
  printf 'smoke: the second dvc repro should have run nothing, but said:\n%s\n' "$again" >&2
  exit 1
fi
echo "smoke: the second dvc repro ran nothing"
