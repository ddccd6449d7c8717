# `make quickstart` and `make test` set everything up by themselves, in a virtual environment of their own.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# PyTorch's default Linux wheels carry gigabytes of CUDA libraries. Without an NVIDIA driver its index of CPU builds is
# asked too; where that index cannot be reached, pip goes on with the default one.
TORCH := torch==2.13.0
TORCH_INDEX ?= $(shell command -v nvidia-smi >/dev/null 2>&1 || \
	echo --extra-index-url https://download.pytorch.org/whl/cpu --timeout 15 --retries 1)

.PHONY: quickstart test test-all lint types setup clean help

help:
	@echo "make quickstart  set up, then train and measure the embedded default (minutes on two cores)"
	@echo "make test        set up, then run the tests"
	@echo "make test-all    the slow tests too"
	@echo "make lint        ruff;  make types: mypy on the installed package"
	@echo "make clean       remove what the other targets made, runs excepted"

setup: $(READY)

$(READY): setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/python -m pip install $(TORCH) $(TORCH_INDEX)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

quickstart: setup
	$(BIN)/toolgen quickstart

# No test needs a network; offline, names that do not exist are found out at once. Two workers of one thread each: tests
# are too small for threads that share an operation. A file's tests stay together, as do the ports that they use.
WORKERS ?= 2
PYTEST := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test: setup
	$(PYTEST) -m "not slow and not gpu"

test-all: setup
	$(PYTEST)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy cannot follow an editable installation with mapped folders, so it reads the built package.
types: setup
	rm -rf build
	$(BIN)/python -m pip install --quiet --no-deps --target build/typed .
	MYPYPATH=build/typed $(BIN)/mypy --cache-dir .mypy_cache -p toolgen

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
