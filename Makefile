# gristmill: make extract clean tokenize train. `make help` lists the goals; those that every project has are in pipeline/goals.mk.

PYTHON ?= python3
VENV   ?= .venv

PY  := $(VENV)/bin/python
ENV := $(VENV)/.made

include pipeline/goals.mk
.PHONY: bench bench-scale test check environment

bench: environment ## measure, print tables and write docs/benchmarks.md: make bench [NAMES="filter tokenize"]
	$(PY) -m pipeline.benchmarks $(NAMES)

bench-scale: environment ## how seconds and memory grow up to 2 GB of text, into docs/scale.md
	$(PY) -m pipeline.benchmarks.growth
	$(PY) -m pipeline.benchmarks.scale --workers 1

test: environment ## run the tests
	$(PY) -m pytest

check: environment ## style, types and layers
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m pytest tests/test_layers.py

$(ENV): pyproject.toml
	$(PYTHON) -I pipeline/environment.py $(VENV) train dask db search

environment: ## make the environment with what the tests need
	@$(PYTHON) -I pipeline/environment.py $(VENV) train dask db search dev
