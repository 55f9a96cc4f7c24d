# `make` lists the targets. Everything that they install stays in this folder: .venv and .local.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
NATIVE := $(VENV)/.native
# uv installs in seconds what takes pip minutes; pip installs uv, by its hash in the lock.
PIP := $(BIN)/uv pip
PIP_OPTIONS := --quiet --python $(BIN)/python
ANVIL := .local/anvil/.installed
CODE := indexer services schemas devchain tools benchmarks tests

# The tools' caches are kept with the clone, and the tests see the programs that `make` installed.
export PATH := $(abspath $(BIN)):$(abspath .local/anvil/node_modules/.bin):$(PATH)
export PYTHONUNBUFFERED := 1

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} \
	    /^[a-z][a-z0-9-]*:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Use it

.PHONY: demo
demo: install ## Index 10,000 blocks through a local Kafka and PostgreSQL, and show the result
	$(BIN)/python -m benchmarks.demo

.PHONY: stack-up
stack-up: install ## Start a local Kafka and PostgreSQL, and keep them running
	$(BIN)/indexer stack up

.PHONY: stack-down
stack-down: install ## Stop the local Kafka and PostgreSQL
	$(BIN)/indexer stack down

##@ Work on it

.PHONY: install
install: $(INSTALLED) $(NATIVE) ## Make the virtual environment from the lock (VENV, PYTHON: where, with which Python 3.11+)

$(INSTALLED): requirements.lock pyproject.toml
	@test -x $(BIN)/python || { test -n "$(PYTHON)" && $(PYTHON) -m venv $(VENV); } \
	    || { echo "error: make install needs Python 3.11 or newer with venv: set PYTHON" >&2; exit 1; }
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "error: $(BIN)/python is older than 3.11: remove $(VENV) and set PYTHON" >&2; exit 1; }
	@$(PIP) --version >/dev/null 2>&1 || { awk '/^[^ #]/ {wanted = /^uv==/} wanted' requirements.lock >$(VENV)/uv.lock; \
	    $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(VENV)/uv.lock; }
	$(PIP) install $(PIP_OPTIONS) --require-hashes --requirement requirements.lock
	$(PIP) install $(PIP_OPTIONS) --no-deps --no-build-isolation --editable .
	@touch $@

$(NATIVE): native/Cargo.toml native/crates.lock tools/native.py $(wildcard native/src/*.rs native/src/*/*.rs) | $(INSTALLED)
	@$(BIN)/python -m tools.native
	@touch $@

.PHONY: native
native: $(INSTALLED) ## Build the native module (Rust; `install` does so where there is one), again if it was left out
	@rm -f $(NATIVE)
	@$(MAKE) --no-print-directory $(NATIVE)

.PHONY: check
check: check-format check-types check-imports check-dead-code check-schemas check-files check-docs ## All checks (with -k: all of them, whatever fails)

.PHONY: check-format
check-format: install ## Formatting and lint (ruff)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)

.PHONY: check-types
check-types: install ## Types (mypy --strict)
	$(BIN)/mypy

.PHONY: check-imports
check-imports: install ## Who may import whom (import-linter; contracts in pyproject.toml)
	$(BIN)/lint-imports --no-logo --cache-dir .local/import-linter

.PHONY: check-dead-code
check-dead-code: install ## Code that nothing uses (vulture)
	$(BIN)/vulture

.PHONY: check-schemas
check-schemas: install ## Schemas: compatible with earlier versions, ids unchanged
	$(BIN)/python -m schemas.compat

.PHONY: check-files
check-files: install ## Tracked files: no registry hosts, machine paths, secrets or large files
	$(BIN)/python -m tools.tracked_files

.PHONY: check-docs
check-docs: install ## Docs: links, commands, and that what is generated is up to date
	$(BIN)/python -m tools.docs

.PHONY: format
format: install ## Format the code and apply ruff's safe fixes
	$(BIN)/ruff check --fix-only --quiet $(CODE)
	$(BIN)/ruff format $(CODE)

.PHONY: generate
generate: install ## Write the generated files anew: .env.example, docs/reference
	$(BIN)/python -m tools.generated

.PHONY: test
test: install anvil ## All tests, and coverage of at least 90 %
	$(BIN)/python -m tools.run_tests unit integration e2e

.PHONY: test-unit
test-unit: install ## Unit tests only: no Kafka, no database
	$(BIN)/python -m tools.run_tests unit

.PHONY: simulate
simulate: install ## The whole on ports in memory, under faults that seeds choose (SEEDS=10000, FROM=0)
	$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),10000) --from $(or $(FROM),0)

.PHONY: mutations
mutations: install ## Take the rules out one by one: the tests that hold each must fail (ARGS="--rule 7"; not in CI)
	$(BIN)/python -m tests.mutations $(ARGS)

.PHONY: fuzz
fuzz: install ## A million mutated answers of nodes and a million mutated records of each kind (ITEMS=1000000, FROM=0)
	$(BIN)/python -m tests.fuzz --rpc $(or $(ITEMS),1000000) --avro $(or $(ITEMS),1000000) \
		--records $(or $(ITEMS),1000000) --from $(or $(FROM),0)

.PHONY: bench
bench: install ## Measure: 10,000 blocks of 40 transactions end to end, by stage
	$(BIN)/python -m benchmarks.bench

.PHONY: bench-long
bench-long: install ## 100,000 small blocks in one job: the last 10,000 as fast as the first, memory flat (not in CI)
	$(BIN)/python -m benchmarks.bench --blocks 100000 --profile small --steady 0.9

.PHONY: bars
bars: install $(ANVIL) ## Hold the figures to their bars, strictly: on a machine that does nothing else (not in CI)
	$(BIN)/python -m benchmarks.devchain_speed --bar 2000
	$(BIN)/python -m benchmarks.demo --within 90
	BAR_SLACK=1 $(BIN)/python -m pytest -m "bar or figure" -o timeout=600 tests

.PHONY: chaos
chaos: install ## Everything is killed, frozen, cut and poisoned for MINUTES by SEED; nothing may be lost (not in CI)
	$(BIN)/python -m tests.chaos --seed $(or $(SEED),1) --minutes $(or $(MINUTES),3) $(ARGS)

##@ Keep it

.PHONY: lock
lock: install ## Resolve requirements.lock again (newer versions: make lock UPGRADE=1)
	$(BIN)/uv pip compile pyproject.toml --extra dev --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	    --generate-hashes --no-emit-index-url --no-header --quiet $(if $(UPGRADE),--upgrade) --output-file requirements.lock
	cd tools/anvil && npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund
	$(if $(UPGRADE),$(BIN)/python -m tools.native lock)

.PHONY: anvil
anvil: $(ANVIL) ## Install Anvil, the Ethereum node that integration tests run (needs npm)

# Not `npm ci`: it insists on the packages of every platform, and a registry may hold this one's only.
$(ANVIL): tools/anvil/package.json tools/anvil/package-lock.json
	@command -v npm >/dev/null || { echo "error: Anvil comes from npm, which is not here: install Node.js 20+ with npm" >&2; exit 1; }
	mkdir -p $(@D)
	cp $^ $(@D)
	npm install --prefix $(@D) --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
	$(@D)/node_modules/.bin/anvil --version
	@touch $@

.PHONY: clean
clean: ## Stop the local stack, and remove what was built and installed
	@if test -x $(BIN)/indexer && test -d .local; then $(BIN)/indexer stack down || true; fi
	rm -rf native/target native/Cargo.lock $(VENV) .local .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage* build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
