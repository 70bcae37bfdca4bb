# `make demo` and `make test` set everything up by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two processes; each has whole files, so that what a file sets up is set up once, and they come in the order of tests/conftest.py.
BY_FILE := --dist loadfile --no-loadscope-reorder

# Kept even where the machine says otherwise: each of the suites' many processes would compile everything anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-slow lint check gpu-check proto clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV), this takes a few minutes"
	$(BIN)/pip install --quiet --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/stillhouse run method=pate data=digits

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 $(BY_FILE) -m "not slow"

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 $(BY_FILE) -m slow

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/support/static_checks.py

check: lint test test-slow

gpu-check: $(VENV)/.installed
	$(BIN)/python -m pytest -m gpu
	$(BIN)/python benchmarks/ensemble_training.py --device cuda

proto: $(VENV)/.installed
	$(BIN)/python platform/aggregator/generate.py

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
