# Everything runs in a virtual environment of its own, made at the first call.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Of Debian: a PACS with DICOMweb, and a validator of DICOM objects.
CLINICAL_PROGRAMS := orthanc orthanc-dicomweb dicom3tools
# MONAI Label wants versions that the package's own environment does not have.
LABEL_VENV := .label-env
LABEL_BIN := $(LABEL_VENV)/bin
LABEL_STAMP := $(LABEL_VENV)/.installed
# MONAI Deploy brings a runtime of its own.
DEPLOY_VENV := .deploy-env
DEPLOY_BIN := $(DEPLOY_VENV)/bin
DEPLOY_STAMP := $(DEPLOY_VENV)/.installed
# The site's tools read the sources without importing them: their environment needs no torch and is made in seconds.
DOCS_VENV := .docs-env
DOCS_BIN := $(DOCS_VENV)/bin
DOCS_STAMP := $(DOCS_VENV)/.installed

.DEFAULT_GOAL := help

help:  ## Show what can be made.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(STAMP): constraints.txt setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	# torch first and alone: as another package's requirement pip would fetch a build with gigabytes of CUDA.
	$(BIN)/pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev,dicom,export,benchmarks]'
	touch $@

install: $(STAMP)  ## Make .venv and install the package with its tools.

demo: $(STAMP)  ## Train on phantoms, infer, evaluate and draw, in minutes; DATA=<folder with datalist.json> for real images.
	$(BIN)/python -m medsegdiff_monai demo --out demo $(if $(DATA),--data '$(DATA)')

zoo-check: $(STAMP)  ## Check each bundle against the model zoo's rules; SCHEMA=<folder or file of the metadata's schema>.
	PYTHONPATH=tests $(BIN)/python -m bundle.zoo_check bundle/*/ $(if $(SCHEMA),--schema '$(SCHEMA)')

lint: $(STAMP)  ## Check style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint  ## Check style and types, then run the tests that need no server, one process a core.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal --ignore tests/clinical -m 'not slow'

test-slow: $(STAMP)  ## Run the tests that test leaves out: exports, trainings of several processes or taken up again.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal --ignore tests/clinical -m slow

$(LABEL_STAMP): label/requirements.txt label/constraints.txt label/torchvision_operators.py label/pydicom_storage_classes.py
	$(PYTHON) -m venv $(LABEL_VENV)
	echo '*' > $(LABEL_VENV)/.gitignore
	$(LABEL_BIN)/pip install --quiet -c label/constraints.txt torch
	$(LABEL_BIN)/pip install --quiet -c label/constraints.txt -r label/requirements.txt
	# What these require besides is left out on purpose.
	$(LABEL_BIN)/pip install --quiet --no-deps -c label/constraints.txt torchvision pydicom-seg monailabel
	$(LABEL_BIN)/python label/torchvision_operators.py
	$(LABEL_BIN)/python label/pydicom_storage_classes.py
	$(LABEL_BIN)/pip install --quiet --no-deps -e .
	touch $@

label-env: $(LABEL_STAMP)  ## Make .label-env with MONAI Label and this package.

label-test: $(LABEL_STAMP)  ## Start MONAI Label's server and run the round trips of tests/label.
	OMP_NUM_THREADS=1 $(LABEL_BIN)/python -m pytest tests/label

$(DEPLOY_STAMP): examples/deploy/requirements.txt examples/deploy/constraints.txt setup.cfg
	$(PYTHON) -m venv $(DEPLOY_VENV)
	echo '*' > $(DEPLOY_VENV)/.gitignore
	$(DEPLOY_BIN)/pip install --quiet -c examples/deploy/constraints.txt torch
	$(DEPLOY_BIN)/pip install --quiet -c examples/deploy/constraints.txt -r examples/deploy/requirements.txt -e '.[dicom]'
	# What these require besides is left out on purpose.
	$(DEPLOY_BIN)/pip install --quiet --no-deps -c examples/deploy/constraints.txt holoscan-cu13 tritonclient monai-deploy-app-sdk
	touch $@

deploy-env: $(DEPLOY_STAMP)  ## Make .deploy-env with MONAI Deploy and this package.

deploy-test: $(DEPLOY_STAMP)  ## Run the application of examples/deploy on each bundle, the tests of tests/deploy.
	# The runtime recommends this size of the stack.
	ulimit -s 32768; OMP_NUM_THREADS=1 $(DEPLOY_BIN)/python -m pytest tests/deploy

$(DOCS_STAMP): constraints.txt
	$(PYTHON) -m venv $(DOCS_VENV)
	echo '*' > $(DOCS_VENV)/.gitignore
	$(DOCS_BIN)/pip install --quiet -c constraints.txt mkdocs-material mkdocstrings-python latex2mathml ruff
	touch $@

docs: $(DOCS_STAMP)  ## Build the documentation's site with the API reference into site/, which no warning may pass.
	NO_MKDOCS_2_WARNING=1 $(DOCS_BIN)/mkdocs build --quiet --strict

stats: $(STAMP)  ## Count lines, functions, complexity and the README's words, and fail where a limit is passed.
	$(BIN)/python tools/stats.py

bundles: $(STAMP)  ## Write a zip of each bundle, as the model zoo hands it out, and their hashes into dist/.
	$(BIN)/python tools/bundle_archives.py

wheel: $(STAMP)  ## Write the package's wheel and source archive into dist/.
	$(BIN)/python -m build --outdir dist

clinical-programs:
	@command -v Orthanc >/dev/null && command -v dciodvfy >/dev/null || \
		{ apt-get install -y -qq $(CLINICAL_PROGRAMS) && { service orthanc stop >/dev/null 2>&1 || true; }; } || \
		{ echo 'Install $(CLINICAL_PROGRAMS) as root, and stop the service orthanc.' >&2; exit 1; }

test-clinical: $(STAMP) clinical-programs  ## Run the commands for DICOM against a real PACS (Orthanc) on loopback.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/clinical

clean:  ## Remove the environments and what the demo made.
	rm -rf $(VENV) $(LABEL_VENV) $(DEPLOY_VENV) $(DOCS_VENV) build demo dist site

.PHONY: help install demo zoo-check lint test test-slow label-env label-test deploy-env deploy-test docs stats bundles wheel \
	clinical-programs test-clinical clean
