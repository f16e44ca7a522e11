# Two commands do all set-up: `make start` and `make test`. Both may be run again at no cost.
WINDOWS := $(filter Windows_NT,$(OS))
PYTHON ?= $(if $(WINDOWS),python,python3)
VENV ?= .venv
# Where torch is looked for. A Linux user without a GPU avoids the CUDA build with
#   make start TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
BIN := $(VENV)/$(if $(WINDOWS),Scripts,bin)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# Without build isolation the pinned setuptools builds the package, not the newest.
INSTALL := $(PIP) --no-build-isolation --editable
# One worker a core with one thread each; a file's tests share a worker, and so their fixtures.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

.PHONY: start soak test test-api test-all lint test-peers clean

start: $(VENV)/.installed
	$(BIN)/bottega quickstart $(ARGS)

test: lint
	$(PYTEST)

# openai-python's own tests against a running server; `make test` runs them too.
test-api: $(VENV)/.tested
	$(PYTEST) tests/api/suite

# It needs the model in runs/quickstart, which `make start` trains.
soak: $(VENV)/.tested
	$(BIN)/python bench/soak.py runs/quickstart --minutes 10

test-all: lint
	$(PYTEST) -m ''

lint: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Bottega needs Python 3.11 or newer; name one with: make start PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@echo "Installing torch and the rest into $(VENV); this takes some minutes, once."
	$(if $(TORCH_INDEX),$(PIP) --no-deps --index-url $(TORCH_INDEX) torch)
	$(PIP) setuptools
	$(INSTALL) '.[serve,lineage]'
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(INSTALL) '.[test]'
	@touch $@

# llama-cpp-python is built from source, which takes some minutes.
test-peers: $(VENV)/.tested
	$(PIP) llama-cpp-python ctranslate2
	$(PYTEST) tests/parity/test_llama_cpp.py

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
