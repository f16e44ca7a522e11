# Two commands do all set-up: `make start` and `make test`. Both may be run again at no cost.
PYTHON ?= python3
VENV ?= .venv
# Where torch is looked for. A Linux user without a GPU avoids the CUDA build with
#   make start TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: start test test-all lint clean

start: $(VENV)/.installed
	$(BIN)/bottega quickstart

test: $(VENV)/.tested lint
	$(BIN)/python -m pytest

test-all: $(VENV)/.tested lint
	$(BIN)/python -m pytest -m ''

lint: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Bottega needs Python 3.11 or newer; name one with: make start PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0 $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(PIP) --editable .
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(PIP) --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
