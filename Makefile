# Each target sets up all it needs by itself: a virtual environment with the packages of requirements.lock, and for
# tests, lint and outputs those of requirements-dev.lock.
#
#   make course                      run notebooks 00 to 06 headless on the small profile
#   make course ALL=1                every numbered notebook
#   make course NOTEBOOKS="04 05"    only these
#   PROFILE=full make course         on a GPU, with the 2B model
#   make course PYTHON=python3.12    build the environment with another Python

# The first Python that fits; if none does, the check below says so.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(or $(shell for p in python3 python3.12 python3.13 python3.11; do \
  if $$p -c '$(FITS)' 2>/dev/null; then echo $$p; break; fi; done),python3)
PROFILE ?= small
NOTEBOOKS ?=
VENV ?= .venv
# Processes that tests run in, with one thread each.
WORKERS ?= 2
BIN := $(VENV)/bin
# One stamp per state of a lock: a second run installs nothing, a changed lock does.
lock_sum = $(shell cksum $(1) | cut -d ' ' -f 1)
STAMP := $(VENV)/.installed-$(call lock_sum,requirements.lock)
DEV_STAMP := $(VENV)/.installed-dev-$(call lock_sum,requirements-dev.lock)
PIP_INSTALL = $(BIN)/python -m pip install $$(test -t 1 || echo --quiet) --disable-pip-version-check --root-user-action=ignore

.DEFAULT_GOAL := help
.PHONY: help setup course test lint lab search outputs readme sweeps lock clean

help:
	@echo "make course    run the notebooks in order into runs/$(PROFILE)/ and print the results"
	@echo "               PROFILE=full make course; make course ALL=1; make course NOTEBOOKS=\"04 05\""
	@echo "make test      lint and every test, the notebooks included (FAST=1 leaves the notebook runs out)"
	@echo "make setup     install only; DEV=1: also what tests, and the scripts in data/make, need"
	@echo "make lab       open copies of the notebooks, in runs/lab, in JupyterLab"
	@echo "make search    the same, at notebook 09: Run All Cells ends at its search page"
	@echo "               LAB_ARGS=\"--no-browser --port 8899\" passes arguments on"
	@echo "make outputs   run the committed notebooks in place and keep their outputs clean"
	@echo "make readme    write the generated parts of README.md, docs/ and notebooks again (FROM=runs/small/results.json takes a new ledger)"
	@echo "make sweeps    measure again what each choice, and each planted fault, does to a short training (40 min)"
	@echo "make lock      resolve requirements.lock and requirements-dev.lock again"
	@echo "make clean     remove the runs of notebooks and caches; copies in runs/lab stay, and the environment (rm -rf $(VENV))"

setup: $(if $(DEV),$(DEV_STAMP),$(STAMP))
	@echo "Ready. make lab opens the notebooks, make course runs them; README.md says how to use your own PDFs."

$(STAMP):
	@$(PYTHON) -c '$(FITS)' || { \
	  echo "The course needs Python 3.11, 3.12 or 3.13; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | head -n 1). Name another: make $(or $(MAKECMDGOALS),course) PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || { mkdir -p $(VENV) && test -w $(VENV); } 2>/dev/null || { \
	  echo "Cannot write into $(VENV). Name other folders: make $(or $(MAKECMDGOALS),course) VENV=$$HOME/vdr-venv VDR_COURSE_RUNS=$$HOME/vdr-runs"; exit 1; }
	@test -x $(BIN)/python || { echo "Making $(VENV) ..."; $(PYTHON) -m venv $(VENV); } || { \
	  rm -rf $(VENV); echo "'$(PYTHON) -m venv' failed. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip --upgrade
	@echo "Installing requirements.lock into $(VENV) (once; several GB on Linux, where torch brings its CUDA libraries) ..."
	@$(PIP_INSTALL) -r requirements.lock
	@rm -f $(VENV)/.installed-*
	@touch $@

$(DEV_STAMP): | $(STAMP)
	@echo "Installing what tests need besides, from requirements-dev.lock (once) ..."
	@$(PIP_INSTALL) -r requirements-dev.lock
	@rm -f $(VENV)/.installed-dev-*
	@touch $@

course: $(STAMP)
	@$(BIN)/python tools/run_course.py --profile $(PROFILE) $(if $(ALL),--all) $(NOTEBOOKS)

test: $(DEV_STAMP) lint
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --no-loadscope-reorder $(if $(FAST),-m "not slow")

lint: $(DEV_STAMP)
	@$(BIN)/python -m ruff check .

lab: $(STAMP)
	@$(BIN)/python tools/lab.py $(LAB_ARGS)

search: $(STAMP)
	@$(BIN)/python tools/lab.py --search $(LAB_ARGS)

outputs: $(DEV_STAMP)
	@$(BIN)/python tools/outputs.py $(NOTEBOOKS)

readme: $(STAMP)
	@$(BIN)/python tools/readme.py $(if $(FROM),--from $(FROM))
	@$(BIN)/python tools/openings.py

sweeps: $(STAMP)
	@$(BIN)/python tools/sweeps.py

# The tests' set is resolved first; the readers' begins at its pins and keeps those that it needs. UPGRADE= keeps what
# is pinned already, after a package was added.
UPGRADE ?= --upgrade
UV_COMPILE := uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 \
  --custom-compile-command "make lock" --no-emit-index-url --no-emit-find-links
lock:
	@command -v uv >/dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv"; exit 1; }
	$(UV_COMPILE) $(UPGRADE) -o requirements-dev.lock requirements-dev.in
	@cp requirements-dev.lock requirements.lock
	$(UV_COMPILE) -o requirements.lock requirements.txt

clean:
	rm -rf runs/small* runs/full* runs/collections runs/browser .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -type d -prune -exec rm -rf {} +
