# What a user and a developer do. Each target sets up .venv by itself; nothing is installed outside of it.
#
#   make demo    tune the bundled model on the bundled task and write a report
#   make test    run the tests
#   make check   what is run before each commit: format, lint, types, tests with the docs in step
#   make bench   measure against other trainers, side by side
#   make conformance  put every model type of transformers through all rooms, and write docs/models.md
#   make docs    write the generated pages again
#
# Another Python: make demo PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --constraint constraints.txt --build-constraint constraints.txt

.PHONY: demo test check bench conformance docs model clean

demo: .venv/ready
	$(BIN)/espalier run recipes/event-duration.toml

test: .venv/ready model
	$(BIN)/pytest

check: .venv/ready model
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/pytest

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
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(INSTALL) --editable '.[dev]'
	@touch $@

.venv/ready-bench: .venv/ready
	$(INSTALL) --editable '.[dev,bench]'
	@touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis
