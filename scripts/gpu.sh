#!/usr/bin/env bash
# The pipeline with the shared cache: what anyone ran before is fetched instead of run, and what is new is pushed.
# usage: scripts/gpu.sh [EXPERIMENT [-S key=value …]]      (default: params.yaml as committed)
# In slices: timeout 20m scripts/gpu.sh NAME …; the training saves itself when told to stop, and the same line goes on with it.
# benchmarks/gpu.py tells beforehand how fast each stage will be; afterwards results/run.json has images_per_second.
# The changes of the metrics go to the summary of the GitHub job, or to the terminal.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ -x .venv/bin/dvc ] && export PATH="$PWD/.venv/bin:$PATH"

python - >&2 <<'END'
import torch
seen = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU, so machine.device=auto is the CPU"
print(f"gpu: torch {torch.__version__}, built for CUDA {torch.version.cuda}, sees {seen}")
END
[ $# -eq 0 ] || PYTHONPATH=src python pipelines/experiment.py "$@" --write
if [ -n "$(dvc remote list)" ]; then
  dvc fetch --run-cache || echo "gpu: nothing could be fetched yet" >&2
  dvc repro --pull
  dvc push --run-cache
  python scripts/push_runs.py
else
  echo "gpu: no DVC remote is configured (dvc remote add -d NAME URL), so nothing is fetched or pushed" >&2
  dvc repro
fi
PYTHONPATH=src python pipelines/report.py
dvc metrics diff --md | tee -a "${GITHUB_STEP_SUMMARY:-/dev/null}"
