# Two commands matter: `make pipeline` and `make test`. Both first make the environment, once.
PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help pipeline test smoke campaign audit table1 tune numbers relock

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

pipeline: $(INSTALLED) ## data, barycenter, training, evaluation; ends with the result table
	@start=$$(date +%s); $(VENV)/bin/dvc repro && $(VENV)/bin/python pipelines/report.py && \
	  echo "in $$(( $$(date +%s) - start )) seconds"

test: $(INSTALLED) ## lint, types and tests
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q -n logical

smoke: $(INSTALLED) ## the whole pipeline in miniature, twice, in a clean clone of the last commit
	scripts/smoke.sh

campaign: $(INSTALLED) ## kills, full disks, mangled files and odd requests by the thousand, in 20 minutes: FLAGS="--seed 1"
	PYTHONPATH=src:tests:tests/data $(VENV)/bin/python -m campaign $(FLAGS)

audit: $(INSTALLED) ## known vulnerabilities of the pinned libraries; exit code 2: they could not all be looked up
	$(VENV)/bin/python scripts/audit.py

table1: $(INSTALLED) ## the results table, in hours: LOCATION=/path/to/300w CELEBA=/path/to/img_align_celeba FLAGS=--list
	$(VENV)/bin/python pipelines/table.py table1 $(if $(LOCATION),-S 'data.location=$(LOCATION)') \
	  $(if $(CELEBA),-S 'data.extra.location=$(CELEBA)') $(FLAGS)

tune: $(INSTALLED) ## search for the coefficients c5-c10 from the trained models: FLAGS="--trials 40 --workers 2"
	$(VENV)/bin/python pipelines/tune.py $(FLAGS)

numbers: $(INSTALLED) ## write the method's numbers anew, after VERSION was raised
	WRITE_NUMBERS=1 OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q tests/method/test_numbers.py

relock: $(INSTALLED) ## take over an edit that changes no result: the numbers test, then dvc.lock follows the code
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q tests/method/test_numbers.py
	$(VENV)/bin/dvc commit -f

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' || \
	  { echo "$$($(PYTHON) --version) is too old: brule needs Python 3.11.4 or later; name one with make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -e '.[dev]' -c constraints.txt
	@touch $@
