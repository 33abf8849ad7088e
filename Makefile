# `make help` lists what there is. Everything is installed into .venv, nothing outside this folder is changed.
PYTHON ?= python3
BIN := .venv/bin
DATA ?= demo
NAME ?=
ARGS ?=
RUN_OPTIONS = --data "$(DATA)" $(if $(NAME),--name "$(NAME)") $(if $(OVERWRITE),--overwrite) $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help install report lab test bench bench-long study-clean study-power lint lock clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

install: .venv/installed  ## make .venv and install the project and what it needs

report: .venv/installed  ## the whole study; DATA=zip or folder, NAME=of the run, OVERWRITE=1, ARGS="-p epochs 5"
	@$(BIN)/python -m tblib run $(RUN_OPTIONS)

lab: .venv/installed  ## JupyterLab on the notebooks
	$(BIN)/jupyter lab notebooks

test: .venv/tested lint  ## every test; TBLIB_FILMS=folder with TB_database.zip adds those on real films
	$(BIN)/python -m pytest

bench: .venv/tested  ## the plain way and this one side by side, into reports/benchmark/; TBLIB_FILMS as for test
	@mkdir -p reports/benchmark
	$(BIN)/python -m pytest tests/benchmarks/bench.py -q --benchmark-json=reports/benchmark/benchmark.json --benchmark-disable-gc
	$(BIN)/python -m tests.benchmarks.limits
	@$(BIN)/python -m tests.benchmarks.table

bench-long: .venv/tested  ## what takes 90 minutes once, and make bench then shows: learning over seeds, memory and time as films grow
	@mkdir -p reports/benchmark
	$(BIN)/python -m tests.benchmarks.learning
	$(BIN)/python -m tests.benchmarks.scale

study-clean: .venv/tested  ## does the audit cry wolf: 20 studies of demo films without shortcuts; 45 minutes, interruptible
	@$(BIN)/python -m tests.benchmarks.clean

study-power: .venv/tested  ## does it find what is there: cues planted into demo films, the CNN's own width; 25 minutes
	@$(BIN)/python -m tests.benchmarks.power

lint: .venv/tested  ## ruff and mypy, notebooks included
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy tblib
	$(BIN)/nbqa mypy notebooks

lock: .venv/bin/python  ## renew constraints.txt from the newest versions that go together
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --editable '.[test,kaggle]'
	.venv-lock/bin/python -m pip freeze --exclude-editable --local | grep -E '^[A-Za-z0-9._-]+==' > constraints.txt
	rm -rf .venv-lock

clean:  ## remove .venv (data and reports stay)
	rm -rf .venv

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " \
	  + sys.version.split()[0] + "; name another one with PYTHON=…")'
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

.venv/tested: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@
