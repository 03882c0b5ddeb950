# What a user and a developer do. Each target sets up .venv by itself; nothing is installed outside of it.
#
#   make demo    tune the bundled model on the bundled task and write a report
#   make test    run the tests
#   make check   what is run before each commit: format, lint, types, tests with the docs in step
#   make bench   measure against other tools, side by side
#   make conformance  put every model type of transformers through all rooms, and write docs/models.md
#   make docs    write the generated pages again
#
# Another Python: make demo PYTHON=python3.12; a .venv of another one is then made anew.

PYTHON ?= python3
BIN := .venv/bin
# A thread for each process: at the sizes of tests, threads only wait for each other. One process more than there
# are cores, since some tests wait for servers, signals and other processes. Bytecode is kept,
# whatever the environment says: each of a hundred processes would compile the package again.
WORKERS = $(shell $(BIN)/python -c 'import os; print(min(8, 1 + os.cpu_count()))')
PYTEST = OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n $(WORKERS) --dist worksteal
INSTALL := $(BIN)/python -m pip install --constraint constraints.txt --build-constraint constraints.txt
NO_NETWORK := || { echo "pip could not install the packages; above it says why. A package index other than PyPI is \
named by PIP_INDEX_URL, a proxy by HTTPS_PROXY. The same command goes on from here."; exit 1; }

# Only where a Python is asked for: else .venv stays what it is.
ifneq ($(origin PYTHON),file)
ifneq ($(wildcard $(BIN)/python),)
ifneq ($(shell $(BIN)/python -V 2>&1),$(shell $(PYTHON) -V 2>&1))
CLEAR := --clear
.PHONY: .venv/ready
endif
endif
endif

.PHONY: demo test check bench conformance docs model clean

demo: .venv/ready
	$(BIN)/espalier run event-duration

test: .venv/ready model
	$(PYTEST)

check: .venv/ready model
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(PYTEST)

bench: .venv/ready-bench model
	$(BIN)/python -m bench

conformance: .venv/ready
	$(BIN)/python -m conformance

docs: .venv/ready
	$(BIN)/espalier recipe > docs/recipe.md

model: .venv/ready
	$(BIN)/espalier models fetch smollm2-135m

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Espalier needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(CLEAR) .venv
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip $(NO_NETWORK)
	$(INSTALL) --editable '.[dev]' $(NO_NETWORK)
	@touch $@

.venv/ready-bench: .venv/ready
	$(INSTALL) --editable '.[dev,bench]' $(NO_NETWORK)
	@touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis
