# Each of `make course` and `make test` sets everything up by itself: a virtual environment and the locked packages.
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
# One stamp per state of the lock: a second run installs nothing, a changed lock does.
LOCK_SUM := $(shell cksum requirements.lock | cut -d ' ' -f 1)
STAMP := $(VENV)/.installed-$(LOCK_SUM)

.DEFAULT_GOAL := help
.PHONY: help setup course test lint lab outputs readme sweeps lock clean

help:
	@echo "make course    run the notebooks in order into runs/$(PROFILE)/ and print the results"
	@echo "               PROFILE=full make course; make course ALL=1; make course NOTEBOOKS=\"04 05\""
	@echo "make test      lint and every test, the notebooks included (FAST=1 leaves the notebook runs out)"
	@echo "make setup     install only"
	@echo "make lab       open copies of the notebooks, in runs/lab, in JupyterLab"
	@echo "               LAB_ARGS=\"--no-browser --port 8899\" passes arguments on"
	@echo "make outputs   run the committed notebooks in place and keep their outputs clean"
	@echo "make readme    write README.md's generated parts again (FROM=runs/small/results.json takes a new ledger)"
	@echo "make sweeps    measure again what each choice, and each planted fault, does to a short training (40 min)"
	@echo "make lock      resolve requirements.lock again"
	@echo "make clean     remove the runs of notebooks and caches; copies in runs/lab stay, and the environment (rm -rf $(VENV))"

setup: $(STAMP)

$(STAMP):
	@$(PYTHON) -c '$(FITS)' || { \
	  echo "The course needs Python 3.11, 3.12 or 3.13; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | head -n 1). Name another: make $(or $(MAKECMDGOALS),course) PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || { mkdir -p $(VENV) && test -w $(VENV); } 2>/dev/null || { \
	  echo "Cannot write into $(VENV). Name other folders: make $(or $(MAKECMDGOALS),course) VENV=$$HOME/vdr-venv VDR_COURSE_RUNS=$$HOME/vdr-runs"; exit 1; }
	@test -x $(BIN)/python || { echo "Making $(VENV) ..."; $(PYTHON) -m venv $(VENV); } || { \
	  rm -rf $(VENV); echo "'$(PYTHON) -m venv' failed. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip --upgrade
	@echo "Installing requirements.lock into $(VENV) (once; several GB on Linux, where torch brings its CUDA libraries) ..."
	@$(BIN)/python -m pip install $$(test -t 1 || echo --quiet) --disable-pip-version-check --root-user-action=ignore -r requirements.lock
	@rm -f $(VENV)/.installed-*
	@touch $@

course: $(STAMP)
	@$(BIN)/python tools/run_course.py --profile $(PROFILE) $(if $(ALL),--all) $(NOTEBOOKS)

test: $(STAMP) lint
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --no-loadscope-reorder $(if $(FAST),-m "not slow")

lint: $(STAMP)
	@$(BIN)/python -m ruff check .

lab: $(STAMP)
	@$(BIN)/python tools/lab.py $(LAB_ARGS)

outputs: $(STAMP)
	@$(BIN)/python tools/outputs.py $(NOTEBOOKS)

readme: $(STAMP)
	@$(BIN)/python tools/readme.py $(if $(FROM),--from $(FROM))

sweeps: $(STAMP)
	@$(BIN)/python tools/sweeps.py

lock:
	@command -v uv >/dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv"; exit 1; }
	uv pip compile --quiet --upgrade --universal --fork-strategy fewest --python-version 3.11 --no-header \
	  --no-emit-index-url --no-emit-find-links -o requirements.lock requirements-dev.in
	@printf '%s\n' '# The exact set that the tests ran with, for every platform and Python 3.11 to 3.13. Written by `make lock`.' \
	  | cat - requirements.lock > requirements.lock.new && mv requirements.lock.new requirements.lock

clean:
	rm -rf runs/small* runs/full* runs/collections .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -type d -prune -exec rm -rf {} +
