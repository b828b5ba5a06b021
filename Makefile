# gristmill: make extract clean tokenize train. `make help` lists the goals.
# The order of the work, and what must run again, is worked out by pipeline/plan.py from the values of the settings, never from their times.

RECIPE ?= smollm2-qlora
PYTHON ?= python3
VENV   ?= .venv

PY    := $(VENV)/bin/python
ENV   := $(VENV)/.made
STATE := data/.plan
MODEL := data/models/smollm2-135m-instruct
MADE  := data/sources/python-docs

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.PHONY: help extract clean tokenize train plan verify bench test check environment reset FORCE
.DEFAULT_GOAL := help

help: ## list the goals
	@echo "make extract clean tokenize train [RECIPE=$(RECIPE) | RECIPE=all]"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'

extract: ## sources become documents: data/sources -> data/raw
clean: ## duplicates, refusals and slop go: data/raw -> data/clean
tokenize: ## documents become packed rows of tokens: data/clean -> data/tokens
train: ## a QLoRA adapter is trained on them: data/tokens -> data/runs

ifneq ($(filter extract clean tokenize train plan,$(MAKECMDGOALS)),)
include $(STATE)/rules.mk
endif

# Made again at every run, and rewritten only when it changed; a mistake in the settings stops make here, before anything runs.
$(STATE)/rules.mk: FORCE | $(ENV)
	@$(PY) -m pipeline.plan --state $(STATE) --recipe "$(RECIPE)" --made $(MADE) --model $(MODEL)

FORCE:

plan: ## what would run, and which value or file changed
	@$(PY) -m pipeline.plan --state $(STATE) --recipe "$(RECIPE)" --made $(MADE) --model $(MODEL) --explain

$(MADE)/.made: | $(ENV)
	$(PY) -m pipeline.sample $(@D)

$(MODEL)/tokenizer.json: | $(ENV)
	$(PY) -m pipeline.models tokenizer $(@D)

$(MODEL)/model.safetensors: | $(MODEL)/tokenizer.json
	$(PY) -m pipeline.models weights $(@D)

verify: | $(ENV) ## read every byte of what was built and compare it with the manifests
	$(PY) -m pipeline verify $(wildcard data/raw/*) $(wildcard data/clean) $(wildcard data/tokens/*) $(wildcard data/runs/*)

bench: environment ## measure, print tables and write docs/benchmarks.md: make bench [NAMES="filter tokenize"]
	$(PY) -m pipeline.benchmarks $(NAMES)

test: environment ## run the tests
	$(PY) -m pytest

check: environment ## style, types and layers
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m pytest tests/test_layers.py

$(ENV): pyproject.toml
	$(PYTHON) -I pipeline/environment.py $(VENV) train dask db

environment: ## make the environment with what the tests need
	@$(PYTHON) -I pipeline/environment.py $(VENV) train dask db dev

reset: ## delete what was built (never data/sources, nor the environment)
	rm -rf data/raw data/clean data/tokens data/runs data/models $(STATE) data/.[a-z]*.partial-* data/.[a-z]*.extracted-*
