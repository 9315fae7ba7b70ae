# Everything that a contributor or a newcomer types. Needs Python 3.11 or newer, and make; nothing else.
#
#   make demo          a support agent is killed in mid-tool, resumes, waits for a person and finishes
#   make test          what CI runs: lint, types, every test
#   make help          the rest
#
# The environment in .venv is made from the locks in requirements/, every file checked against its hash. Each
# step leaves a stamp in .venv and is done again only when what it was made from has changed.

PYTHON ?= python3
MODEL ?=
PYTEST_ARGS ?=
COOLDOWN ?= 7 days

VENV := .venv
BIN := $(VENV)/bin
BENCH_VENV := .venv-bench
LOCKS := requirements
PIP_FLAGS := --quiet --disable-pip-version-check --no-input

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo demo-local test test-local check lint types tests format lock bench soak clean \
        system-packages

help:  ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 | \2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-20s %s\n", $$1, $$2}'

# What people run ------------------------------------------------------------------------------------------

# With MODEL=provider/model the agent talks to a real model, and the providers' libraries are installed first.
demo: $(VENV)/.stamp-run $(if $(MODEL),$(VENV)/.stamp-models)  ## kill an agent in mid-tool and watch it resume
	@$(BIN)/perdure demo $(if $(MODEL),--model '$(MODEL)')

demo-local: $(VENV)/.stamp-local  ## the same on a small real model on this machine (fetches about 100 MB)
	@$(BIN)/perdure demo --local $(if $(MODEL),--model '$(MODEL)')

# pytest runs last and prints the last line.
test: system-packages lint types tests  ## lint, types and every test: what CI runs

check: test  ## the same as `make test`

lint: $(VENV)/.stamp-dev  ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.stamp-dev  ## mypy, strict
	$(BIN)/mypy

tests: $(VENV)/.stamp-dev  ## pytest alone; PYTEST_ARGS='tests/unit -k turn' picks some
	$(BIN)/python -m pytest -q -n 2 --dist loadfile $(PYTEST_ARGS)

test-local: $(VENV)/.stamp-dev $(VENV)/.stamp-local  ## the tests on real small models (fetches about 500 MB)
	$(BIN)/python -m pytest -m local_llm $(PYTEST_ARGS) tests/local_llm

format: $(VENV)/.stamp-dev  ## let ruff format and fix what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

soak: $(VENV)/.stamp-dev  ## the long lane: soaks and exhaustive crash runs
	$(BIN)/python -m pytest -m long --timeout 3600 $(PYTEST_ARGS)

bench: $(BENCH_VENV)/.stamp  ## run the benchmarks and write docs/benchmarks/ and docs/benchmarks.md
	$(BENCH_VENV)/bin/python -m bench all
	$(BENCH_VENV)/bin/python -m bench report

clean:  ## remove what the tools leave behind, the environments included
	rm -rf $(VENV) $(BENCH_VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .demo build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Environments ---------------------------------------------------------------------------------------------

# $(call make-venv,DIR): a bare environment, with a plain sentence where the machine lacks something.
define make-venv
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "Perdure needs Python 3.11 or newer, and there is no '$(PYTHON)' on this machine." >&2; \
	  echo "Install it, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Perdure needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>&1)." >&2; \
	  echo "Name another one: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    echo "Installing python3-venv, which Debian keeps apart from Python."; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv; \
	  else \
	    echo "'$(PYTHON)' cannot make virtual environments: its venv or ensurepip module is missing." >&2; \
	    echo "On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; fi; }
	@echo "Making $(1)"
	@$(PYTHON) -m venv $(1)
endef

# $(call install-locked,DIR,LOCK): every file checked against the lock's hashes. The lock names all that is needed,
# so that pip looks for nothing besides.
define install-locked
	@echo "Installing $(LOCKS)/$(2).lock"
	@$(1)/bin/python -m pip install $(PIP_FLAGS) --require-hashes --no-deps -r $(LOCKS)/$(2).lock
endef

# $(call install-perdure,DIR): the checkout itself. hatchling came with the lock, so nothing is fetched unchecked.
define install-perdure
	@$(1)/bin/python -m pip install $(PIP_FLAGS) --no-deps --no-build-isolation --no-index -e .
endef

$(VENV)/.stamp-venv:
	$(call make-venv,$(VENV))
	@touch $@

$(VENV)/.stamp-run: $(LOCKS)/run.lock pyproject.toml | $(VENV)/.stamp-venv
	$(call install-locked,$(VENV),run)
	$(call install-perdure,$(VENV))
	@touch $@

$(VENV)/.stamp-models: $(LOCKS)/all-models.lock | $(VENV)/.stamp-run
	$(call install-locked,$(VENV),all-models)
	@touch $@

$(VENV)/.stamp-local: $(LOCKS)/local-model.lock | $(VENV)/.stamp-run
	$(call install-locked,$(VENV),local-model)
	@touch $@

$(VENV)/.stamp-dev: $(LOCKS)/dev.lock pyproject.toml | $(VENV)/.stamp-venv
	$(call install-locked,$(VENV),dev)
	$(call install-perdure,$(VENV))
	@touch $@

$(BENCH_VENV)/.stamp: $(LOCKS)/bench.lock pyproject.toml
	$(call make-venv,$(BENCH_VENV))
	$(call install-locked,$(BENCH_VENV),bench)
	$(call install-perdure,$(BENCH_VENV))
	@touch $@

# requirements/debian.txt is the one list; each package in it carries a command of its own name.
system-packages:
	@missing=""; \
	for package in $$(sed 's/#.*//' $(LOCKS)/debian.txt); do \
	  command -v $$package >/dev/null 2>&1 || missing="$$missing $$package"; \
	done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	  echo "Installing$$missing"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	else \
	  echo "Not installed:$$missing. The tests that need them are skipped."; \
	fi

# Locks ----------------------------------------------------------------------------------------------------

# One resolution (dev) sets the versions and the others follow it, so that any two locks can share an
# environment. For all platforms, with the hashes of every file, and without the address of any index.
# COOLDOWN: nothing younger than this is taken.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
  --exclude-newer "$(COOLDOWN)" pyproject.toml $(LOCKS)/build.in

lock: $(VENV)/.stamp-dev  ## resolve anew and write requirements/*.lock
	$(COMPILE) --upgrade --extra dev -o $(LOCKS)/dev.lock
	$(COMPILE) --upgrade -c $(LOCKS)/dev.lock -o $(LOCKS)/run.lock
	$(COMPILE) --upgrade -c $(LOCKS)/dev.lock --extra all-models -o $(LOCKS)/all-models.lock
	$(COMPILE) --upgrade -c $(LOCKS)/dev.lock --extra local-model -o $(LOCKS)/local-model.lock
	$(COMPILE) --upgrade -c $(LOCKS)/dev.lock --extra bench -o $(LOCKS)/bench.lock
