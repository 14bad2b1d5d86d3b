# Two commands need nothing but Python 3.11+: `make demo` (the main job) and `make test` (the tests). Each makes its own
# virtual environment on the first call; `make help` lists the rest.

PYTHON ?= python3
VENV ?= .venv
BENCH_VENV ?= .venv-bench
JOBS ?= 2
OUT ?= demo

BIN := $(VENV)/bin
BENCH := $(BENCH_VENV)/bin
PIP_INSTALL := -m pip install -qq --disable-pip-version-check -c constraints.txt
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help demo test services check lint types slow crash guide notebooks bench bench-quality bench-serving constraints clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

demo: $(VENV)/base.stamp  ## train the four families on embedded data and write one report (minutes on 2 cores)
	$(BIN)/maquette demo --out $(OUT)

test: check  ## everything that continuous integration asks for
	$(PYTEST) -n $(JOBS) --dist loadfile -m "not slow and not crash and not gpu"

services:  ## Debian's PostgreSQL and Chromium, as root: tests that need one are skipped, with the reason, where it is not
	@command -v chromium >/dev/null && ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || \
		{ apt-get update -qq && apt-get install -qq -y --no-install-recommends postgresql chromium >/dev/null; }

check: lint types  ## formatting, lint and types

lint: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/dev.stamp
	$(BIN)/pyright --pythonpath $(BIN)/python

slow: $(VENV)/dev.stamp  ## the tests that take minutes
	$(PYTEST) -n $(JOBS) --dist loadfile -m slow

crash: $(VENV)/dev.stamp  ## kill training at random moments in each family; what is resumed must match bit for bit
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.crash
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.crash --every-call --only diffusion
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.crash.serving
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.crash.searching

guide: $(VENV)/dev.stamp  ## the guide as a web site in site/, English and Chinese; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

notebooks: $(VENV)/dev.stamp  ## the notebooks of docs/notebooks as .ipynb files beside them
	$(BIN)/jupytext --quiet --to ipynb docs/notebooks/*.py

bench: $(BENCH_VENV)/stamp  ## speed against peers, interleaved; writes benchmarks/results/
	$(BENCH)/python -m benchmarks.speed

bench-quality: $(BENCH_VENV)/stamp  ## quality against peers at equal wall time (10 minutes a contestant)
	$(BENCH)/python -m benchmarks.quality

bench-serving: $(BENCH_VENV)/stamp  ## many clients at once, over HTTP and without it (about 10 minutes)
	$(BENCH)/python -m benchmarks.serving

constraints:  ## resolve constraints.txt again (needs uv)
	{ sed '/^[^#]/d' constraints.txt; echo torch==2.13.0 | uv pip compile pyproject.toml --all-extras --constraint - \
		--python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-annotate --no-header; } > constraints.new
	mv constraints.new constraints.txt

clean:  ## remove the virtual environments and what the tools left
	rm -rf $(VENV) $(BENCH_VENV) .pytest_cache .ruff_cache .hypothesis build dist site

# The stamp of the larger set also covers the smaller one, so `make test` after `make demo` only adds what is missing.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Maquette needs Python 3.11+: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/base.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing Maquette into $(VENV) (about a minute)"
	@$(BIN)/python $(PIP_INSTALL) -e .
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing Maquette and its test tools into $(VENV) (a minute or two)"
	@$(BIN)/python $(PIP_INSTALL) -e ".[dev,docs,hf,text,fast,serve,postgres,tune]"
	@touch $(VENV)/base.stamp $@

$(BENCH_VENV)/bin/python:
	$(PYTHON) -m venv $(BENCH_VENV)

$(BENCH_VENV)/stamp: pyproject.toml constraints.txt benchmarks/requirements.txt | $(BENCH_VENV)/bin/python
	$(BENCH)/python $(PIP_INSTALL) -e ".[dev,hf,text,fast,serve,postgres,tune]" -r benchmarks/requirements.txt
	$(BENCH)/python -m pip install -qq --disable-pip-version-check --no-deps torch-fidelity==0.4.0
	@touch $@
