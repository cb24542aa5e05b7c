# Every command sets up what it needs in .venv; nothing here asks for root, Redis or PostgreSQL.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install install-dev up demo test test-reference coverage check fix migrate bench bench-data bench-engine bench-h2o bench-memory bench-parse bench-predictions bench-recovery bench-service bench-tables bench-uploads chaos clean faults lost-commits mutants simulate

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

install: .venv/.installed  ## build .venv with the service
.venv/.installed: pyproject.toml $(wildcard chainrule/kernels/native/*)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[service]'
	@touch $@

install-dev: .venv/.installed-dev  ## add what tests and checks need
.venv/.installed-dev: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

up: install  ## start API, worker, broker and database on this machine
	$(BIN)/chainrule up

demo: install  ## train, download and check a digits classifier, end to end
	$(BIN)/chainrule demo

test: install-dev  ## run the tests, two at a time (PYTEST="-k name" for a few)
	$(BIN)/python -m compileall -q chainrule service worker migrations
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(PYTEST)

test-reference: install-dev  ## run the engine's tables of cases without the compiled kernels
	$(BIN)/pytest --numprocesses 2 --reference-kernels tests/engine/test_cases.py tests/engine/test_kind_parity.py

simulate: install-dev  ## play 20,000 seeded schedules of the state machine (SEED=n tells one, SEEDS=n plays so many)
	$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS))

mutants: install-dev  ## take each term out of each guard of the state machine, and see who notices
	$(BIN)/python -m tests.simulation.mutants

faults: install-dev  ## fail at every fault point in every way, in real processes (FAULTS="--engine postgres")
	$(BIN)/python -m tests.chaos.fault_points $(FAULTS)

lost-commits: install-dev  ## lose or garble what PostgreSQL says to 1,000 COMMITs (COMMITS="--times n")
	$(BIN)/python -m tests.chaos.lost_commits $(COMMITS)

chaos: install-dev  ## kill real processes and compare the bits (CHAOS="--kills 100 --engine postgres --seed 1")
	$(BIN)/python -m tests.chaos $(CHAOS)

coverage: install-dev  ## run the tests and show which lines and branches none of them took
	$(BIN)/pytest --cov $(PYTEST)

check: install-dev  ## lint, format, types, imports, spelling
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy tests benchmarks
	$(BIN)/lint-imports
	$(BIN)/codespell

fix: install-dev  ## let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

migrate: install  ## bring the database of CHAINRULE_DATABASE_URL up to date
	$(BIN)/python -m service.store.migrate

bench: bench-service bench-predictions bench-parse bench-engine bench-memory  ## every benchmark; tables here, JSON in benchmarks/results

bench-engine: install-dev  ## training steps beside PyTorch, JAX and scikit-learn, where installed (BENCH=--quick)
	$(BIN)/python -m benchmarks.engine $(BENCH)

bench-memory: install-dev  ## memory over 10,000 steps and a 4 GB file, cost per sample up to 10 million rows
	$(BIN)/python -m benchmarks.memory

bench-service: install-dev  ## latency, throughput and memory of the embedded service
	$(BIN)/python -m benchmarks.service

bench-h2o: install-dev  ## the same jobs over HTTP in H2O-3, where Java is (H2O_JAR=path/to/h2o.jar)
	$(BIN)/python -m benchmarks.h2o

bench-parse: install-dev  ## a table parsed, beside polars alone: time and memory (BENCH="--mib 2000")
	$(BIN)/python -m benchmarks.parse $(BENCH)

bench-data: install-dev  ## a CSV of 2 GB uploaded, parsed and trained on: time and memory (BENCH="--mb 200")
	$(BIN)/python -m benchmarks.data $(BENCH)

bench-uploads: install-dev  ## 4 GB sent at once, packed, in parts: the API's memory (BENCH="--mb 400")
	$(BIN)/python -m benchmarks.uploads $(BENCH)

bench-tables: install-dev  ## small tables beside scikit-learn's own pipeline
	$(BIN)/python -m benchmarks.tables

bench-predictions: install-dev  ## one row predicted, and a million in a job: time and memory
	$(BIN)/python -m benchmarks.predictions

bench-recovery: install-dev  ## how soon all is well after each fault (BENCH="--only trainer,host --repeat 200")
	$(BIN)/python -m benchmarks.recovery $(BENCH)

clean:  ## remove what make built
	rm -rf .venv build dist *.egg-info chainrule/kernels/*.so .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
