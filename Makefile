# Everything runs in .venv, made on first use. Once installed, all targets work without a network.
#   make PYTHON=python3.12 test          another Python (after `rm -rf .venv`)
#   make test ARGS="-k tanh -x"          more arguments for pytest
#   make bench ARGS="engine"             more arguments for the benchmarks

PYTHON ?= python3
JOBS   ?= 2
ARGS   ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo install test test-all lint bench fuzz clean

help:  ## show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: .venv/.installed-runtime  ## the tour: worked examples, XOR, handwritten digits
	$(BIN)/backlit demo

install: .venv/.installed-runtime  ## make .venv with backlit in it, nothing more

test: .venv/.installed-test  ## the quick tests and every example in the documentation
	$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

test-all: .venv/.installed-test .venv/.installed-peers  ## all tests: also the slow ones and those against other libraries
	$(BIN)/python -m pytest -n $(JOBS) -m "" $(ARGS)

lint: .venv/.installed-lint  ## style, types and the walls between the floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.installed-peers  ## measure against other libraries; ARGS picks what (ARGS=--help lists)
	$(BIN)/python -m benchmarks $(ARGS)

fuzz: .venv/.installed-test  ## random graphs, compiled and eager, for an hour (ARGS="--minutes 5" for less)
	$(BIN)/python -m tests.fuzz $(ARGS)

clean:  ## remove caches and build products (rm -rf .venv removes the rest)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# One stamp for each extra; pyproject.toml renews them. No build isolation: so that a renewal that needs
# nothing new needs no network either.
.venv/.installed-%: pyproject.toml | .venv/.created
	$(PIP) install --no-build-isolation --editable '.[$*]'
	@touch $@

.venv/.installed-runtime: pyproject.toml | .venv/.created
	$(PIP) install --no-build-isolation --editable .
	@touch $@

.venv/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "backlit needs Python 3.11 or newer; $(PYTHON) is older, or not there. Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) install 'hatchling>=1.27' editables
	@touch $@
