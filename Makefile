# `make demo` and `make test` need python3 (3.11+, with venv) and nothing else; both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest

# Where nothing compiled is kept, each of the many processes of the tests compiles all that it imports, and pytest each of
# its modules.
unexport PYTHONDONTWRITEBYTECODE

# An environment whose Python is gone, or was moved, is made anew.
$(shell $(BIN)/python -c '' 2>/dev/null || rm -f $(VENV)/.run $(VENV)/.dev)

.PHONY: demo test check ruff mypy pyright pyright-of-tests typing docs engines schedulers spark matrix soak thorough \
	thorough-tests coverage fmt bench clean

$(VENV)/.run: pyproject.toml stackone_lms/_version.py
	@.ci/venv $(PYTHON) $(VENV)
	.ci/install $(BIN)/python --editable '.[cli,duckdb]'
	touch $@

$(VENV)/.dev: $(VENV)/.run
	.ci/install $(BIN)/python --editable '.[all]' --group dev
	touch $@

# StackOne's own client and Prism, against which the sandbox is tested where Node is installed; without them, and without
# a network, those tests say so and are skipped.
CONTRACT := tests/contract/typescript tests/contract/prism
NPM := npm install --silent --no-audit --no-fund --no-package-lock --ignore-scripts --fetch-timeout=30000 --fetch-retries=1

$(VENV)/.node: $(CONTRACT:=/package.json) $(VENV)/.run
	for folder in $(CONTRACT); do command -v npm >/dev/null && (cd $$folder && $(NPM)) || true; done
	touch $@

# Azurite, an emulator of Azure Blob Storage, which is 190 MB.
$(VENV)/.azurite: tests/export/azurite/package.json $(VENV)/.run
	command -v npm >/dev/null && (cd $(<D) && $(NPM)) || true
	touch $@

demo: $(VENV)/.run
	$(BIN)/stackone-lms demo

# The longest first, the others beside it.
CHECKS := pyright ruff mypy typing docs

test: $(VENV)/.dev
	@$(MAKE) --no-print-directory --jobs 2 $(CHECKS) $(VENV)/.node
	$(PYTEST) -n auto

check: $(VENV)/.dev
	@$(MAKE) --no-print-directory --jobs 2 $(CHECKS)

ruff: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

mypy: $(VENV)/.dev
	$(BIN)/mypy

# Of the tests those that users' code is like; the others, which mypy checks, come with `make thorough`.
pyright: $(VENV)/.dev
	$(BIN)/pyright stackone_lms tests/typing

pyright-of-tests: $(VENV)/.dev
	$(BIN)/pyright tests

typing: $(VENV)/.dev
	$(PYTEST) -q -m typing tests/typing

docs: $(VENV)/.dev
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html

# The fault suite on other Pythons, loops and parsers; those that are not installed are skipped.
matrix: $(VENV)/.dev
	$(PYTEST) -m matrix tests

# The scripts of docs/examples, in an environment with their engines: Iceberg, Dask, Ray, Sail.
ENGINES := $(VENV)/engines

$(ENGINES)/.ready: docs/examples/requirements.txt $(VENV)/.dev
	test -x $(ENGINES)/bin/python || $(PYTHON) -m venv $(ENGINES)
	.ci/install $(ENGINES)/bin/python --editable '.[arrow]' --requirement docs/examples/requirements.txt
	touch $@

engines: $(ENGINES)/.ready
	$(PYTEST) -m engines tests/engines/test_examples.py

# The recipes for schedulers, in an environment with Airflow, Dagster and Prefect.
SCHEDULERS := $(VENV)/schedulers

$(SCHEDULERS)/.ready: docs/examples/schedulers/requirements.txt $(VENV)/.dev
	test -x $(SCHEDULERS)/bin/python || $(PYTHON) -m venv $(SCHEDULERS)
	.ci/install $(SCHEDULERS)/bin/python --requirement docs/examples/schedulers/requirements.txt
	touch $@

schedulers: $(SCHEDULERS)/.ready
	$(PYTEST) -m engines tests/engines/test_schedulers.py

# The source for Spark in a cluster on loopback, in an environment with pyspark, which is 450 MB. Without
# Java, or where pyspark cannot be had in time, its tests are skipped and say why. All of it ends within ten minutes. Its
# tests run in their order; on a slow machine the last ones are skipped.
SPARK := $(VENV)/spark

$(SPARK)/.ready: tests/spark/requirements.txt $(VENV)/.dev
	test -x $(SPARK)/bin/python || $(PYTHON) -m venv $(SPARK)
	timeout 320 env PIP_RETRIES=1 PIP_DEFAULT_TIMEOUT=20 .ci/install $(SPARK)/bin/python \
		--editable '.[arrow]' --requirement tests/spark/requirements.txt >$(SPARK).log 2>&1 \
		&& touch $@ || echo "installing pyspark took too long, or failed: make spark" >>$(SPARK).log

spark: $(VENV)/.dev
	began=$$(date +%s); \
	{ command -v java >/dev/null && $(MAKE) --no-print-directory $(SPARK)/.ready; } || true; \
	SPARK_SECONDS=$$((began + 580 - $$(date +%s))) $(PYTEST) -p no:randomly -m spark tests/spark

# What takes long: thousands of requests in trouble, months of exports, many kills, many examples.
soak: thorough
	STACKONE_SOAK=1 $(PYTEST) -n auto -m soak tests

# All fuzzed examples, all kills, and limits over seconds, of which make test tries a tenth, and what takes most of a
# second of processor time, of which make test tries one case of each kind.
thorough: $(VENV)/.dev
	@$(MAKE) --no-print-directory --jobs 2 pyright-of-tests thorough-tests

thorough-tests: $(VENV)/.dev $(VENV)/.azurite
	STACKONE_SOAK=1 $(PYTEST) -n auto -m "(thorough or rounds) and not soak" tests

coverage: $(VENV)/.dev
	$(BIN)/python -m coverage erase
	$(PYTEST) -n auto --cov --cov-report=term --cov-fail-under=95

fmt: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench:
	test -x benchmarks/.venv/bin/python || $(PYTHON) -m venv benchmarks/.venv
	.ci/install benchmarks/.venv/bin/python --editable . --requirement benchmarks/requirements.txt
	command -v npm >/dev/null && (cd benchmarks/node && npm install --silent --no-audit --no-fund --ignore-scripts) || true
	benchmarks/.venv/bin/python -m benchmarks
	benchmarks/.venv/bin/python -m benchmarks.charts
	benchmarks/.venv/bin/python -m benchmarks.observing
	benchmarks/.venv/bin/python -m benchmarks.instructions --guard

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage*
