# All that is needed is Python 3.11 or newer as `python3` (or PYTHON=...) and make.
PYTHON ?= python3
# Processes that share the tests, each with one thread.
WORKERS ?= auto
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

# Python of `make test-newest`: shap needs 3.12 or newer since 0.52.
NEWEST_PYTHON ?= python3.13
# A core of tests for other versions of the dependencies: laws over heads x backends, tables, results, plots, commands.
CORE := tests/project/test_versions.py tests/test_laws.py tests/tables tests/plots tests/cli/test_latents.py \
	$(addprefix tests/explainer/test_,explanation.py export.py indexing.py pickling.py explanation_files.py)

.PHONY: demo test test-distributed test-oldest test-newest lint docs release-check bench bench-long clean

demo: $(VENV)/core
	$(BIN)/shapae demo --out demo --force

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --ignore=tests/distributed

# Engines with real processes, and ten kills each: many minutes. Spark takes Java; without an engine its tests are skipped.
test-distributed: $(VENV)/engines
	for engine in loky dask ray spark; do \
		OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 0 tests/distributed -k $$engine || exit 1; \
	done

# 5 GB each, since the packages of torch for x86-64 bring CUDA along.
test-oldest: .venv-oldest/core
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -n $(WORKERS) $(CORE)

test-newest: .venv-newest/core
	OMP_NUM_THREADS=1 .venv-newest/bin/python -m pytest -n $(WORKERS) $(CORE)

lint: $(VENV)/all
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# The site, in docs/_build/html; a warning is an error. Nothing is fetched but the packages, once.
docs: $(VENV)/docs
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	! grep -rlE '<(script|link|img|iframe)[^>]*(src|href)="(https?:)?//' --include='*.html' docs/_build/html

# Wheel and sdist, each installed in a fresh environment (1 GB, deleted afterwards), and the README's first block.
release-check:
	$(PYTHON) -m venv .venv-release
	.venv-release/bin/pip install --quiet --disable-pip-version-check -c constraints.txt build
	.venv-release/bin/python tests/release.py

# All of it takes less than half an hour on two free cores; docs/benchmarks/index.md has the time of each.
bench: $(VENV)/all
	$(BIN)/python -m benchmarks.headline
	$(BIN)/python -m benchmarks.full_table
	$(BIN)/python -m benchmarks.shapley_speed --repeats 2
	$(BIN)/python -m benchmarks.anchored
	$(BIN)/python -m benchmarks.latency
	$(BIN)/python -m benchmarks.feedforward
	$(BIN)/python -m benchmarks.sampling
	$(BIN)/python -m benchmarks.operator_coverage
	$(BIN)/python -m benchmarks.slope_accuracy
	$(BIN)/python -m benchmarks.backends_on_genes
	$(BIN)/python -m benchmarks.influence
	$(BIN)/python -m benchmarks.shared_machine

# Some hours: each of these is best run alone.
bench-long: $(VENV)/all
	$(BIN)/python -m benchmarks.speed --seconds 0.35
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.million_rows
	$(BIN)/python -m benchmarks.written
	$(BIN)/python -m benchmarks.parallel
	$(BIN)/python -m benchmarks.ground_truth
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.shapley_error

$(VENV)/core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "installing torch, shap and the rest into $(VENV), a few minutes the first time"
	$(INSTALL) -e .
	touch $@

$(VENV)/all: $(VENV)/core
	$(INSTALL) -e '.[test]'
	touch $@

$(VENV)/docs: $(VENV)/core
	$(INSTALL) -e '.[docs]'
	touch $@

$(VENV)/engines: $(VENV)/all
	$(INSTALL) -e '.[dask,ray,spark]'
	touch $@

.venv-newest/core: PYTHON := $(NEWEST_PYTHON)
.venv-%/core: pyproject.toml constraints-%.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/pip install --quiet --disable-pip-version-check -c constraints-$*.txt \
		-e '.[anndata,captum,parquet,xarray]' hypothesis packaging polars psutil pytest pytest-timeout pytest-xdist
	touch $@

clean:
	rm -rf $(VENV) .venv-oldest .venv-newest .venv-release demo dist docs/_build docs/benchmarks/results docs/reference/generated
