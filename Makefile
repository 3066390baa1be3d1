# Two commands for a newcomer: `make demo` and `make test`. Each sets itself up.
# PYTHON chooses the interpreter (3.11 or later).
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Files side by side, each in one process; the slowest tests are listed in the end. Much of their time
# is waiting for workers to start: three keep two cores busy. The tests took 37 minutes on
# 29 November 2026; the machine was then 1.7 times slower than the one on which they took 20.
WORKERS ?= 3
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=15
READY := $(VENV)/edgekit-dev-ready
DEMO_READY := $(VENV)/edgekit-demo-ready
# uv takes half of pip's time; torch alone comes by plain pip, which takes a CPU build where it knows one.
UV := $(BIN)/uv pip install --quiet --no-config --compile-bytecode --python $(BIN)/python \
  -c constraints-dev.txt
TORCH := $(shell sed -n '/^torch==/p' constraints-dev.txt)

# Bytecode is written even where the environment says not to: the tests start hundreds of processes,
# and each would compile edgekit anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: fuzz reference demo test check lint unit setup setup-demo clean help

help:  ## Show these targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

demo: setup-demo  ## Convert EfficientNet-Lite0 with its ImageNet weights and show the verdict
	$(BIN)/edgekit convert examples/efficientnet_lite0.py:build --config examples/efficientnet_lite0.toml \
	  --output build/demo --force -v

test: setup  ## Everything that CI runs: lint, types, import rules, all tests
	$(MAKE) lint
	$(PYTEST)

check: setup  ## The quick subset: lint and the tests that start no converter
	$(MAKE) lint
	$(PYTEST) -m "not e2e"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(READY)  ## The development environment in .venv

setup-demo: $(DEMO_READY)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# torch first and by its exact version: later requirements are content with the build that is there.
$(READY): pyproject.toml constraints-dev.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH) uv
	$(UV) -e '.[dev]'
	touch $(READY) $(DEMO_READY)

$(DEMO_READY): pyproject.toml constraints-dev.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH) uv
	$(UV) -e '.[demo]'
	touch $(DEMO_READY)

reference: setup  ## The tables of options in docs/reference.md, from the commands
	$(BIN)/python .ci/reference.py

fuzz: setup  ## A long campaign of malformed inputs, with its table: make fuzz CASES=400 SEED=0
	$(BIN)/python -m tests.fuzz --cases $(or $(CASES),400) --seed $(or $(SEED),0)

clean:  ## Remove what was built here (not the environments in the cache folder)
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
