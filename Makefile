# Each target first makes what it needs. ARGS="…" goes to the command: make demo ARGS="--output json"
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
TURNGATE := $(BIN)/turngate
PACKAGES := gateway rollout trainer deploy
SOURCES := $(PACKAGES) clients docs tests
# One thread per kernel: for small models more of them cost more than they gain.
export OMP_NUM_THREADS ?= 1
# Tests wait for servers about as long as they compute. The tests of a file share its fixtures and stay together.
WORKERS ?= 2

PYTEST = $(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder $(ARGS)

# Its plug-ins advertise other site generators otherwise.
MKDOCS = NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/python -m mkdocs

.PHONY: help setup product engine demo up down status test test-nightly test-runtimes coverage chaos bench study docs docs-serve lint format

help: ## show these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

setup: ## make both virtual environments, .venv and .venv-engine
	@$(MAKE) --no-print-directory --jobs=2 product engine

product:
	@deploy/setup/environment.sh product

engine:
	@deploy/setup/environment.sh engine

demo: setup ## watch an agent get better, from nothing, in minutes
	@$(TURNGATE) demo $(ARGS)

up: setup ## start the stack and leave it running
	@$(TURNGATE) up --detach $(ARGS)

down: product ## stop what `make up` started
	@$(TURNGATE) down $(ARGS)

status: product ## what runs, and how far the training is
	@$(TURNGATE) status $(ARGS)

test: checked ## lint, then every test
	@$(PYTEST)

test-nightly: checked ## the same with many examples, and the tests that find bugs only in long runs
	@$(PYTEST) --hypothesis-profile=nightly

test-runtimes: product ## real agent runtimes against a gateway, installed into .runtimes first: 1.8 GB
	@tests/runtimes/install.sh
	@$(PYTEST) --dist=load --runtimes tests/runtimes

coverage: setup ## every test, measured: slower, so not part of `make test`
	@$(PYTEST) --cov --cov-report=term:skip-covered

# Lint needs one of the environments only, and fills the time in which the other is made.
.PHONY: checked
checked:
	@$(MAKE) --no-print-directory --jobs=3 engine lint

chaos: setup ## kill, stop, cut and fill for three minutes while agents work, then check that nothing is lost
	@$(BIN)/python -m tests.chaos $(ARGS)

bench: setup ## what a turn and a training step cost
	@$(BIN)/python -m tests.bench $(ARGS)

study: product ## what stale data costs, by algorithm; an hour or more on one core
	@$(BIN)/python -W ignore -m tests.study $(ARGS)

docs: product ## build the manual into site/
	@$(MKDOCS) build --strict $(ARGS)

docs-serve: product ## show the manual on this machine; built again as it changes
	@$(MKDOCS) serve --strict --dev-addr 127.0.0.1:8800 $(ARGS)

lint: product ## ruff, mypy strict, import arrows
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: product ## apply ruff's layout and safe fixes
	@$(BIN)/ruff check --fix $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)
