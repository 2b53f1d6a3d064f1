# All that is needed is Python 3.11 or newer as `python3` (or PYTHON=...) and make.
PYTHON ?= python3
# Processes that share the tests, each with one thread.
WORKERS ?= auto
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint bench clean

demo: $(VENV)/core
	$(BIN)/shapae demo --out demo --force

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

lint: $(VENV)/all
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(VENV)/all
	$(BIN)/python -m benchmarks.deep
	$(BIN)/python -m benchmarks.speed --seconds 0.35
	$(BIN)/python -m benchmarks.question
	$(BIN)/python -m benchmarks.chains
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.parallel
	$(BIN)/python -m benchmarks.zoo
	$(BIN)/python -m benchmarks.accuracy
	$(BIN)/python -m benchmarks.truth
	$(BIN)/python -m benchmarks.compare
	$(BIN)/python -m benchmarks.sampling

$(VENV)/core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "installing torch, shap and the rest into $(VENV), a few minutes the first time"
	$(INSTALL) -e .
	touch $@

$(VENV)/all: $(VENV)/core
	$(INSTALL) -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) demo
