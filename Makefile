# `make help` lists what there is. Everything is installed into .venv, nothing outside this folder is changed.
PYTHON ?= python3
BIN := .venv/bin
DATA ?=
NAME ?=
PARAMS ?=
MODEL ?=
SPEC ?=
ARGS ?=
PARAMS_FILE = $(or $(wildcard $(PARAMS)),notebooks/parameters/$(PARAMS).yml)
RUN_OPTIONS = $(if $(DATA),--data "$(DATA)") $(if $(NAME),--name "$(NAME)") \
  $(if $(PARAMS),--params "$(PARAMS_FILE)") $(if $(OVERWRITE),--overwrite) $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help install report audit lab app browser test test-lowest bench bench-long study-clean study-controls study-strangers study-stability study-external study-limits study-kills picture lint lock clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

install: .venv/installed  ## make .venv and install the project and what it needs

report: .venv/installed  ## the whole study; DATA=zip or folder, NAME=of the run, PARAMS=mitigated, OVERWRITE=1, ARGS="-p epochs 5"
	@$(BIN)/python -m tblib run $(RUN_OPTIONS)

audit: .venv/audited  ## the same for somebody else's MODEL=file.onnx with its SPEC=file.yml; DATA, NAME, ARGS as for report
	@$(BIN)/python -m tblib audit $(if $(MODEL),"$(MODEL)") $(if $(SPEC),--spec "$(SPEC)") $(RUN_OPTIONS)

lab: .venv/installed  ## JupyterLab on the notebooks
	@$(BIN)/python -m tblib lab $(ARGS)

app: .venv/installed  ## the prediction panel alone, as a page; NAME=of the run (default: demo)
	@$(BIN)/python -m tblib app $(if $(NAME),--name "$(NAME)") $(ARGS)

# Two files of tests at a time, in the order of tests/conftest.py, with a thread each: more threads than cores wait for
# each other.
test: .venv/tested browser lint  ## every test; TBLIB_FILMS=folder with TB_database.zip adds those on real films
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-lowest: .venv-lowest/tested browser  ## every test with the oldest versions that pyproject.toml allows; 6 GB more
	.venv-lowest/bin/python -m pytest

# The panel and the report are opened in a real browser where there is one; without it those tests say why they are skipped.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get && apt-get update -qq && \
	    apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1 || \
	  echo "There is no Chromium and it could not be installed; tests in a browser will be skipped."

bench: .venv/tested  ## the plain way, the careful way and this one side by side, into reports/benchmark/; TBLIB_FILMS as for test
	@mkdir -p reports/benchmark
	$(BIN)/python -m pytest tests/benchmarks/bench.py -q --benchmark-json=reports/benchmark/benchmark.json --benchmark-disable-gc
	$(BIN)/python -m tests.benchmarks.limits
	@$(BIN)/python -m tests.benchmarks.table

bench-long: .venv/tested  ## what takes hours once: learning over seeds, growth, the audit of real films, 200,000 mutated files
	@mkdir -p reports/benchmark
	$(BIN)/python -m tests.benchmarks.learning
	$(BIN)/python -m tests.benchmarks.scale
	$(BIN)/python -m tests.benchmarks.whole
	$(BIN)/python -m tests.fuzz --files 200000

study-clean: .venv/tested  ## does the audit cry wolf: 40 databases of demo films without shortcuts; 45 minutes, interruptible
	@$(BIN)/python -m tests.benchmarks.clean

study-controls: .venv/tested  ## do verdicts hold: networks of known history judged by its rule; three hours, interruptible
	@$(BIN)/python -m tests.benchmarks.controls

study-strangers: .venv/tested  ## do verdicts on other people's models hold: 54 networks of known history; hours, interruptible
	@$(BIN)/python -m tests.benchmarks.strangers

study-stability: .venv/tested  ## do verdicts repeat: the films of RUN=reports/NAME audited with other CNNs, and in two halves; hours
	@$(BIN)/python -m tests.benchmarks.stability $(RUN)

study-external: .venv/tested  ## which mitigation helps elsewhere: DATA, chosen on SELECTION, reported once on REPORTING; MINUTES=120
	@$(BIN)/python -m tests.benchmarks.external "$(DATA)" "$(SELECTION)" $(foreach each,$(REPORTING),"$(each)") \
	  --minutes $(or $(MINUTES),120)

study-limits: .venv/tested  ## what limits a MITIGATION elsewhere: half of DATA's films, SELECTION's own labels; 20 minutes
	@$(BIN)/python -m tests.benchmarks.elsewhere "$(DATA)" "$(SELECTION)" "$(MITIGATION)" \
	  $(foreach each,$(REPORTING),"$(each)")

study-kills: .venv/tested  ## does anything outlive a command that is killed: 25 kills at random moments; 20 minutes
	@$(BIN)/python -m tests.benchmarks.kills --kills 25 --seed 0

picture: .venv/tested report  ## the README's picture, notebooks/abstract.svg, from the demo's audit
	$(BIN)/python -m tests.benchmarks.picture

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

clean:  ## remove .venv and .venv-lowest (data and reports stay)
	rm -rf .venv .venv-lowest

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

.venv/audited: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[onnx]'
	@touch $@

# Made anew whenever a bound changes: what is already installed would do, too, if it is newer.
.venv-lowest/tested: pyproject.toml
	rm -rf .venv-lowest
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet uv
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct \
	  --editable '.[test,kaggle,dask]'
	@touch $@
