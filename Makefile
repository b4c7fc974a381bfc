# Everything starts here: `make demo` shows what hookbench is, `make test` proves that it works.
# Both make their own environment in .venv first; the second time they find it ready.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-all lint bench notebooks slides docs clean

demo: .venv/.installed
	$(BIN)/hookbench demo

# The models are tested on every core; what measures real servers has the machine to itself.
MODELS := tests/sim tests/test_architecture.py
SERVERS := tests/loadtest tests/test_hookbench.py tests/test_notebooks.py

test: .venv/.installed-dev lint
	$(BIN)/python -m pytest -m "not slow" -n auto $(MODELS)
	$(BIN)/python -m pytest -m "not slow" $(SERVERS)

test-all: .venv/.installed-dev lint
	$(BIN)/python -m pytest -n auto $(MODELS)
	$(BIN)/python -m pytest $(SERVERS)

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.installed-dev
	$(BIN)/python -m sim.benchmark
	$(BIN)/python -m sim.experiment.benchmark
	$(BIN)/python -m loadtest.benchmark_receiver
	$(BIN)/python -m loadtest.benchmark_generator
	$(BIN)/python -m loadtest.benchmark_wrk

# Re-executes every lesson; the .py is the source, the .ipynb beside it is written from it.
notebooks: .venv/.installed-dev
	$(BIN)/jupytext --to ipynb --execute notebooks/*.py

# The documentation site, from the guides, the docstrings and what the program says of itself.
docs: .venv/.installed-dev
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

# Every lesson as a talk, one file each in build/slides, which needs no network.
slides: .venv/.installed-dev
	$(BIN)/python -m sim.lessons.slides

.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "hookbench needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -m venv .venv || { echo "python3 cannot make a virtual environment: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 2; }
	@touch $@

.venv/.installed: pyproject.toml constraints.txt | .venv/.python
	@echo "installing hookbench into .venv (once; about a minute) …"
	@$(INSTALL) --editable .
	@touch $@

.venv/.installed-dev: pyproject.toml constraints.txt | .venv/.installed
	@echo "installing the tools for tests and notebooks into .venv (once; about a minute) …"
	@$(INSTALL) --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv .cache build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
