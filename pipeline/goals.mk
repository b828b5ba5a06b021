# The goals that every project has, included by a Makefile that sets PY (the Python that runs gristmill) and ENV (what must be made before it
# can run, if anything). The order of the work, and what must run again, is worked out by pipeline/plan.py from the values of the settings,
# never from their times.

RECIPE ?= smollm2-qlora
STATE := data/.plan
MODEL := data/models/smollm2-135m-instruct
MADE  := data/sources/python-docs

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.PHONY: help extract clean tokenize train plan report verify reset FORCE
.DEFAULT_GOAL := help

help: ## list the goals
	@echo "make extract clean tokenize train [RECIPE=$(RECIPE) | RECIPE=all]"
	@cat $(lastword $(MAKEFILE_LIST)) $(firstword $(MAKEFILE_LIST)) | sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1|\2/p' | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'

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

report: | $(ENV) ## one page that shows what became of the data: data/report.html [BASE=other/data]
	$(PY) -m pipeline report $(if $(BASE),--base $(BASE))

verify: | $(ENV) ## read every byte of what was built and compare it with the manifests
	$(PY) -m pipeline verify $(wildcard data/raw/*) $(wildcard data/clean) $(wildcard data/tokens/*) $(wildcard data/runs/*)

reset: ## delete what was built (never data/sources, nor the environment)
	rm -rf data/raw data/clean data/tokens data/runs data/search data/ablations data/models $(STATE) data/.[a-z]*.partial-* data/.[a-z]*.extracted-*
