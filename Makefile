# Every command that a developer needs. `make demo` and `make test` install what they need.

PYTHON ?= python3
BIN := .venv/bin
# One more than the machine may have cores: the worker with the running stack waits for Dagster's daemon most of its time.
WORKERS ?= 3

# A shell may ask Python to keep no bytecode. Then every process of a test would compile our code, and every run all tests.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-deep bench bench-latency bench-growth check lint format rules types contracts lock

demo: .venv/ready  ## Start everything, register a connector, pull it. ARGS: --once exits after the pulls, --all pulls all types.
	@$(if $(findstring --all,$(ARGS)),tests/servers/install)
	@$(BIN)/python -m tests.demo $(ARGS)

test: .venv/ready  ## The whole suite, against real servers.
	tests/servers/install
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-deep: .venv/ready  ## The whole suite, with the long form of the campaigns.
	tests/servers/install
	QANATIX_TEST_DEEP=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

bench: .venv/ready  ## Rows a second, compared with other tools, which it downloads. ARGS: --rows, --rounds, --alone.
	tests/servers/install
	@$(BIN)/python -m benchmarks.throughput $(ARGS)

bench-latency: .venv/ready  ## How long a pull takes, compared with Dagster's own launcher and with no Dagster. ARGS: --pulls, --at-once.
	tests/servers/install
	@$(BIN)/python -m benchmarks.latency $(ARGS)

bench-growth: .venv/ready  ## What a row costs in a store of many entities, compared with one of few. ARGS: --rows, --probes.
	tests/servers/install
	@$(BIN)/python -m benchmarks.growth $(ARGS)

check: lint  ## Lint, then the quick unit tests, with few examples of each property.
	$(BIN)/pytest -q -n $(WORKERS) -m "not server and not stack and not api and not slow" --hypothesis-profile few --ignore tests/campaigns

lint: format rules types contracts  ## Format, lint, types and import contracts, without running the code.

format: .venv/ready
	$(BIN)/ruff format --check .

rules: .venv/ready
	$(BIN)/ruff check .

types: .venv/ready
	$(BIN)/mypy

contracts: .venv/ready
	$(BIN)/lint-imports --no-logo

lock: .venv/ready  ## Bring requirements.lock up to date with pyproject.toml.
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade \
	  --extra celery --group dev pyproject.toml --output-file requirements.lock

# Compiled at install: without bytecode every Dagster process starts more than twice as slowly.
.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv --clear .venv || { echo "Python's venv module is needed; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "Installing into .venv ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check "uv>=0.9,<1"
	@$(BIN)/uv pip install -q --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@
