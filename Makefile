# The commands of this project. `make` alone lists them; each sets up in .venv/ whatever it needs.
#
#   PYTHON=/path/to/python3.12   the base Python, 3.11 or newer; without it the first that runs of the list below
#   ARGS="--help"                passed on to what a command runs: demos, benchmarks, prove, guards, soak, crowd, fuzz
#   PYTEST="-x -k goaway"        passed on to pytest, in place of `-n 6`, which is: six tests at a time
#   BROWSER="-x -k cut"          the same for `make browser`, in place of `-n 2`
#   CHROMIUM=/path/to/it         the browser, where it is not on the path

.DEFAULT_GOAL := help
.NOTPARALLEL:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTEST ?= -n 6
export PYTEST
BROWSER ?= -n 2

BIN := .venv/genai3/bin
STAGE := @.ci/stage

# --- the base Python: one that runs and is new enough (a pyenv shim may have no Python behind it) -------------------

CANDIDATES := $(or $(PYTHON),python3.11 python3.12 python3.13 python3 python)
FOUND := $(shell for python in $(CANDIDATES); do \
  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
TRIED = $(shell for python in $(CANDIDATES); do \
  "$$python" -c 'import sys; print("%s is %s," % (sys.argv[1], sys.version.split()[0]))' "$$python" 2>/dev/null || echo "no $$python,"; done)
TOO_OLD = resumekit needs Python 3.11 or newer: $(TRIED) so install one, or name it with PYTHON=/path/to/python3.11
ENV = @$(or $(FOUND),$(error $(TOO_OLD))) .ci/env.py

# --- what everyone runs ---------------------------------------------------------------------------------------------

.PHONY: demo
demo: setup  ## watch a conversation live through what kills the plain client (no key, no network)
	@$(BIN)/resumekit demo $(ARGS)

.PHONY: demo-adk
demo-adk:  ## the same through the newest google-adk, which has an environment of its own
	$(ENV) setup adk2
	@.venv/adk2/bin/resumekit demo --adk $(ARGS)

.PHONY: demo-web
demo-web:  ## talk yourself, in the browser, and cut the line yourself (ARGS="--live" with a key: the real service)
	$(ENV) setup browser
	@.venv/browser/bin/resumekit demo --web $(ARGS)

.PHONY: test
test: setup test-core test-newest test-others  ## run the tests, as test-core, test-newest and test-others

.PHONY: lint
lint: setup  ## check style, types and layers
	$(STAGE) style $(BIN)/ruff check
	$(STAGE) format $(BIN)/ruff format --check
	$(STAGE) layers $(BIN)/lint-imports --no-logo
	$(STAGE) "types (mypy)" $(BIN)/mypy
	$(STAGE) "types (pyright)" $(BIN)/pyright --pythonpath $(BIN)/python
	$(ENV) setup adk2
	$(STAGE) "types with google-adk (mypy)" .venv/adk2/bin/mypy
	$(STAGE) "types with google-adk (pyright)" .venv/adk2/bin/pyright --pythonpath .venv/adk2/bin/python resumekit/adapters/adk.py resumekit/adapters/_adk_connection.py resumekit/adapters/_adk_run.py resumekit/adapters/_adk_seam.py resumekit/cli/_adk.py resumekit/cli/_demo/adk_app.py resumekit/cli/_web/*.py
	$(ENV) setup redis
	$(STAGE) "types of the plugin for Redis (mypy)" .venv/redis/bin/mypy plugins/resumekit-redis/resumekit_redis
	$(STAGE) "types of the plugin for Redis (pyright)" .venv/redis/bin/pyright --pythonpath .venv/redis/bin/python plugins/resumekit-redis/resumekit_redis
	$(ENV) setup postgres
	$(STAGE) "types of the plugin for PostgreSQL (mypy)" .venv/postgres/bin/mypy plugins/resumekit-postgres/resumekit_postgres
	$(STAGE) "types of the plugin for PostgreSQL (pyright)" .venv/postgres/bin/pyright --pythonpath .venv/postgres/bin/python plugins/resumekit-postgres/resumekit_postgres
	$(ENV) setup otel
	$(STAGE) "types of the plugin for OpenTelemetry (mypy)" .venv/otel/bin/mypy plugins/resumekit-otel/resumekit_otel
	$(STAGE) "types of the plugin for OpenTelemetry (pyright)" .venv/otel/bin/pyright --pythonpath .venv/otel/bin/python plugins/resumekit-otel/resumekit_otel

.PHONY: format
format: setup  ## mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# --- the parts of `make test` ---------------------------------------------------------------------------------------

.PHONY: test-core
test-core: setup  ## core and wire by their own tests alone, every branch covered
	@$(BIN)/coverage erase
	$(STAGE) "core and wire alone" $(BIN)/coverage run -m pytest -n 2 -m "not proof" tests/core tests/wire
	@$(BIN)/coverage combine -q
	$(STAGE) "every branch of them is covered" $(BIN)/coverage report --fail-under=100

.PHONY: test-newest
test-newest: setup  ## all other tests on the newest google-genai
	$(STAGE) "all tests, newest google-genai" $(BIN)/python -m pytest -m "not wide and not alone" $(PYTEST) tests

.PHONY: test-others
test-others:  ## the tests with google-adk, the newest (with google-genai 2.x) and 1.27, and those of the plugins
	$(ENV) test

# --- what takes longer, or is needed rarely -------------------------------------------------------------------------

.PHONY: matrix
matrix: setup  ## the other versions of google-genai and google-adk, the other Pythons found here, and no fast lanes
	$(STAGE) "all faults without the fast lanes" env RESUMEKIT_FAST=0 $(BIN)/python -m pytest $(PYTEST) tests/faults
	$(ENV) matrix

.PHONY: browser
browser: docs  ## the demo page, the timeline and the site of the docs in a browser (needs Chromium; CHROMIUM=/path/to/it)
	$(ENV) setup browser
	$(STAGE) "tests in a browser" .venv/browser/bin/python -m pytest $(BROWSER) tests/browser

.PHONY: compare
compare:  ## measure again what other frameworks do at a disconnect, for docs/explanation/comparison.md (ten minutes)
	$(ENV) setup pydantic212 processes livekit pipecat pydantic-ai strands
	@for name in pydantic212 processes livekit pipecat pydantic-ai strands; do \
	  echo "$$name ..." && ".venv/$$name/bin/python" -m tests.frameworks.compare --check || exit 1; done

.PHONY: prove
prove: setup  ## a million schedules, or an hour of them, and everything else that proves the promises (ARGS="--minutes 10")
	@$(BIN)/python -m tests.proofs.prove $(ARGS)
	$(ENV) setup adk2
	$(STAGE) "all faults through google-adk" .venv/adk2/bin/python -m pytest $(PYTEST) --timeout=900 -m proof tests/adk

.PHONY: guards
guards: setup  ## take out, one by one, what guards each promise: its test has to fail (ARGS="--jobs 2 G7")
	$(ENV) setup adk2
	@$(BIN)/python -m tests.proofs.guards $(ARGS)

.PHONY: soak
soak: setup  ## an hour of real sockets, a fault somewhere every few seconds (ARGS="--minutes 5"; results in out/proofs/)
	$(ENV) setup adk2
	@$(BIN)/python -m tests.soak --adk .venv/adk2/bin/python $(ARGS)

.PHONY: crowd
crowd: setup  ## ten thousand clients at fifty slots, in one process and in five of which three are killed (ARGS="--clients 50000")
	@$(BIN)/python -m pytest -q -s -k "thousand" tests/test_pool.py
	$(ENV) setup redis
	@.venv/redis/bin/python plugins/resumekit-redis/tests/crowd.py $(ARGS)

.PHONY: fuzz
fuzz:  ## look for frames that break something, led by coverage, for ten minutes (ARGS="--seconds 3600")
	$(ENV) setup fuzz
	@.venv/fuzz/bin/python -m tests.fuzz $(ARGS)

.PHONY: bench
bench: setup-bench  ## the benchmarks, short form (results in out/benchmarks/)
	@.venv/bench/bin/python -m benchmarks --quick $(ARGS)

.PHONY: bench-full
bench-full: setup-bench  ## the benchmarks as they are published (results in benchmarks/results/): the machine must be quiet
	@.venv/bench/bin/python -m benchmarks $(ARGS)
	@.venv/bench/bin/python -m benchmarks.report
	@.venv/bench/bin/python -m tests.proofs.report

.PHONY: bench-report
bench-report: setup-bench  ## the pages and plots of the figures in benchmarks/results/, and which goals were missed
	@.venv/bench/bin/python -m benchmarks.report
	@.venv/bench/bin/python -m tests.proofs.report

.PHONY: gate
gate:  ## see to it that no path of a frame takes more instructions than on record (needs valgrind)
	$(ENV) setup bench
	$(STAGE) "instructions for each frame" .venv/bench/bin/python -m benchmarks.gate

.PHONY: gate-record
gate-record:  ## take the instructions that the paths take now for right (benchmarks/gate.json)
	$(ENV) setup bench
	@.venv/bench/bin/python -m benchmarks.gate --record

.PHONY: setup-bench
setup-bench:  # the environments that questions are asked in
	$(ENV) setup bench genai2 genai175 adk2

.PHONY: docs
docs:  ## the site of the docs, every link followed (out/docs/site/index.html)
	$(ENV) setup docs
	@.venv/docs/bin/python docs/make_site.py

.PHONY: picture
picture:  ## the picture of the demo page in the README (needs Chromium)
	$(ENV) setup browser
	@.venv/browser/bin/python docs/make_picture.py

.PHONY: constraints
constraints:  ## pin all environments anew (.ci/constraints-*.txt), from .ci/environments.toml and pyproject.toml
	$(ENV) constraints

.PHONY: setup
setup:  # make .venv/genai3, unless it is there and up to date
	$(ENV) setup genai3

.PHONY: clean
clean:  ## remove environments, caches and what commands wrote
	rm -rf .venv build dist out .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help:  ## list the commands
	@echo 'make COMMAND, with COMMAND one of:'
	@sed -n 's/^\([a-z-]*\):[^#]*## */\1|/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "  %-13s %s\n", $$1, $$2 }'
	@echo 'Settings (PYTHON, ARGS, PYTEST, BROWSER, CHROMIUM) are told at the top of the Makefile.'
