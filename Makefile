# Every command that a developer needs. `make demo` and `make test` set up what they need by themselves.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-deep bench bench-latency bench-growth check lint lock

demo: .venv/ready  ## Start everything, register a connector, pull it. ARGS: --once exits after the pulls, --all pulls all types.
	@$(if $(findstring --all,$(ARGS)),tests/servers/install)
	@$(BIN)/python -m tests.demo $(ARGS)

test: .venv/ready  ## The whole suite, against real servers.
	tests/servers/install
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-deep: .venv/ready  ## The suite, with the long campaigns.
	tests/servers/install
	QANATIX_TEST_DEEP=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

bench: .venv/ready  ## Rows a second, beside other tools, which it downloads. ARGS: --rows, --rounds, --alone.
	@$(BIN)/python -m benchmarks.throughput $(ARGS)

bench-latency: .venv/ready  ## How long a pull takes, beside Dagster's own launcher and no Dagster. ARGS: --pulls, --at-once.
	@$(BIN)/python -m benchmarks.latency $(ARGS)

bench-growth: .venv/ready  ## What a row costs in a store of many entities, beside one of few. ARGS: --rows, --probes.
	@$(BIN)/python -m benchmarks.growth $(ARGS)

check: lint  ## Format, lint, types, import contracts, unit tests.
	$(BIN)/pytest -q -n 2 -m "not server and not stack" --ignore tests/campaigns

lint: .venv/ready  ## What is said of the code without running it.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
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
