# Everything runs in a virtual environment of its own, made at the first call.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help

help:  ## Show what can be made.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(STAMP): constraints.txt setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	# torch first and alone: as another package's requirement pip would fetch a build with gigabytes of CUDA.
	$(BIN)/pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev,export,benchmarks]'
	touch $@

install: $(STAMP)  ## Make .venv and install the package with its tools.

demo: $(STAMP)  ## Train on phantoms, infer, evaluate and draw, in minutes; DATA=<folder with datalist.json> for real images.
	$(BIN)/python -m medsegdiff_monai demo --out demo $(if $(DATA),--data '$(DATA)')

zoo-check: $(STAMP)  ## Check each bundle against the model zoo's rules; SCHEMA=<folder or file of the metadata's schema>.
	$(BIN)/python -m medsegdiff_monai zoo_check bundle/*/ $(if $(SCHEMA),--schema '$(SCHEMA)')

lint: $(STAMP)  ## Check style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint  ## Check style and types, then run all tests, one process a core.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

clean:  ## Remove the environment and what the demo made.
	rm -rf $(VENV) demo

.PHONY: help install demo zoo-check lint test clean
