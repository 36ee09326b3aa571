# Everything a newcomer needs: python3 (3.11 or newer), git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast check format clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Genledger needs Python 3.11 or newer; set PYTHON=python3.11 or later") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV): a few minutes the first time"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(READY) ## Run the main job: a multi-tenant RAG service, priced and attributed
	@$(BIN)/python -m examples.demo

test: check test-fast ## Run every check and the whole test suite

check: $(READY) ## Format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test-fast: $(READY) services
	$(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: services
services: ## Install what the tests start: Redis
	@command -v redis-server >/dev/null || { echo "installing redis-server"; (apt-get update -qq && apt-get install -y -qq redis-server) >/dev/null; }

.PHONY: bench
bench: $(READY) ## Measure what instrumentation costs, against a hand-written span and the peers
	$(BIN)/python -m benchmarks

format: $(READY) ## Format the code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .

clean: ## Remove environments and caches
	rm -rf $(VENV) .venvs .mypy_cache .ruff_cache .pytest_cache
