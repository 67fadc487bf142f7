# The few commands of the project. Only Python 3.11+ and make are assumed; everything else lives in .venv.
#
#   make demo            history and live data, processed in front of you (DEMO_SECONDS=120 ends by itself; a second
#                        one goes on with what the first left, FRESH=1 begins anew)
#   make check           style, types, layers, the Dagster location, doctests
#   make test            every test that this machine can run
#   make test-services   the tests that need a server; here none may be skipped
#   make bench           time and memory per job and stage
#   make simulate        a million segments through planner, ledger and sensor (LEDGER=postgres for the other database)
#   make estimate        how long a day of one shard takes to backfill, from one hour of it
#   make soak            everything under load, killed at random, compared sample by sample (SOAK_MINUTES=10)
#   make nightly         deep fuzz, long property tests, workers under Celery
#   make release-check   wheel and sdist in fresh environments of the oldest and newest Python, licences, an SBOM

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
# The newest suitable interpreter on the path, unless `make PYTHON=...` names one.
PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,\
	$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
PYTEST := $(BIN)/python -m pytest
SERVICES := -n 2 --dist loadfile -m 'service and not nightly' tests

# The many processes of tests and demo would each compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo check test test-services simulate bench estimate soak nightly release-check clean

help:
	@sed -n '3,13s/^#  *//p' Makefile

# The stamps are older than pyproject.toml when dependencies or tools may have changed.
setup: $(VENV)/.installed

define make-venv
@test -n "$(strip $(PYTHON))" || { echo "Python 3.11 or newer not found; name one with PYTHON=..." >&2; exit 1; }
@test -x $(BIN)/python && $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	|| { echo "making $(VENV) with $(PYTHON)"; $(PYTHON) -m venv --clear $(VENV); }
endef
PIP := $(BIN)/python -m pip install --disable-pip-version-check $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))

$(VENV)/.installed: pyproject.toml
	$(make-venv)
	@echo "installing the project and its tools into $(VENV) (about a minute)"
	@$(PIP) --quiet --editable '.[dev]'
	@touch $@

# What the product itself needs, a third of all; what is imported is compiled then, the rest never.
$(VENV)/.runtime: pyproject.toml
	$(make-venv)
	@if [ $(VENV)/.installed -nt pyproject.toml ]; then exit; fi; \
		echo "installing what the demo needs into $(VENV) (half a minute where packages are at hand)"; \
		$(PIP) --no-compile --editable . | awk '/^(Collecting|Requirement|Downloading|Using)/ {if (++n % 40 == 0) \
		{printf "    %d steps\n", n; fflush()}} /^Installing collected/ {print "    unpacking"; fflush()}'
	@touch $@

demo: $(VENV)/.runtime
	@exec $(BIN)/python -m pyro_assets.demo $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS)) $(if $(FRESH),--fresh)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST) tests/test_layers.py
	$(PYTEST) pyro_assets
	$(BIN)/python -W error -c 'from pyro_assets.definitions import defs; defs()'
	$(BIN)/dagster definitions validate -w workspace.yaml

# Tests that start servers mostly wait for them: two files at a time. Where test-services is asked for in the same call,
# they run once, under its stricter rule.
test: setup
	$(PYTEST) -n auto --dist worksteal -m 'not nightly and not service'
ifeq ($(filter test-services,$(MAKECMDGOALS)),)
	$(PYTEST) $(SERVICES)
endif

# The plugin turns a skipped test into a failed one: a missing server is an error here.
test-services: setup
	PYRO_ASSETS_REQUIRE_SERVICES=1 PYTHONPATH=. $(PYTEST) -p tests.support.require_services $(SERVICES)

simulate: setup
	$(BIN)/python -m tests.simulate --ledger $(or $(LEDGER),sqlite) $(if $(JSON),--json $(JSON))

bench: setup
	$(BIN)/python -m tests.bench

estimate: setup
	$(BIN)/python -m tests.bench.backfill

soak: setup
	$(BIN)/python -m tests.soak --minutes $(or $(SOAK_MINUTES),10)

nightly: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[nightly]'
	HYPOTHESIS_PROFILE=deep $(PYTEST)

# With tools and environments of its own.
release-check:
	@exec bash .ci/release-check

clean:
	rm -rf .demo .soak .dagster_home .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
