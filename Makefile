# Everything a newcomer needs: python3 (3.11 or newer), git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast check format clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

CHECK_PYTHON := $(PYTHON) -c 'import sys; sys.exit("Genledger needs Python 3.11 or newer; set PYTHON=python3.11 or later") if sys.version_info < (3, 11) else None'

# It installs the environments: pip would take ten minutes for the larger ones.
UV := .venvs/uv/bin/uv

$(UV):
	@$(CHECK_PYTHON)
	@$(PYTHON) -m venv .venvs/uv
	@.venvs/uv/bin/python -m pip install --quiet --disable-pip-version-check uv

$(READY): pyproject.toml tests/dev.lock | $(UV)
	@$(CHECK_PYTHON)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV): a few minutes the first time"
	@$(UV) pip install --quiet --python $(BIN)/python --editable '.[dev]' --constraint tests/dev.lock
	@touch $@

DEMO := .venvs/demo

$(DEMO)/.ready: examples/demo/requirements.txt pyproject.toml
	@$(CHECK_PYTHON)
	@echo "setting up $(DEMO): about a minute the first time, 270 MB"
	@$(PYTHON) -m venv --clear $(DEMO)
	@$(DEMO)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --editable . --requirement $<
	@$(DEMO)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps chromadb==1.5.9
	@$(DEMO)/bin/python -m pip --quiet uninstall --yes setuptools pip
	@touch $@

demo: $(DEMO)/.ready ## Run the main job: a multi-tenant RAG service, priced and attributed
	@$(DEMO)/bin/python -m examples.demo

test: check test-fast ## Run every check and the whole test suite

check: $(READY) ## Format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test-fast: $(READY) services
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/compat --ignore tests/dashboards --ignore tests/neighbours $(LESS)

.PHONY: test-pythons
PYTHONS = $(shell for minor in 11 12 13 14; do \
	for bin in $(subst :, ,$(PATH)) $(HOME)/.pyenv/versions/3.$$minor.*/bin; do \
	$$bin/python3.$$minor -c 'import ensurepip' 2>/dev/null && echo $$bin/python3.$$minor && break; done; done; true)
BETWEEN = $(wordlist 2,$(words $(wordlist 2,9,$(PYTHONS))),$(PYTHONS))
test-pythons: ## Run the whole suite with the oldest and newest Python on the machine, most of it with those between
	@set -e; for python in $(PYTHONS); do echo $$python; case " $(BETWEEN) " in \
		*" $$python "*) less="--ignore tests/contract --ignore tests/replay --ignore tests/adversary";; *) less=;; esac; \
		$(MAKE) --no-print-directory test-fast PYTHON=$$python VENV=.venvs/$${python##*/} LESS="$$less"; done

LOWEST := .venvs/lowest

$(LOWEST)/.ready: tests/lowest.txt tests/common.txt pyproject.toml | $(UV)
	@echo "setting up $(@D)"
	@$(PYTHON) -m venv --clear $(@D)
	@$(UV) pip install --quiet --python $(@D)/bin/python --editable . --requirement tests/common.txt --requirement $<
	@touch $@

.PHONY: test-lowest
test-lowest: $(LOWEST)/.ready services ## Test with the lowest versions of libraries that the package may be installed with
	$(LOWEST)/bin/python -m pytest -n 2 --dist loadfile tests/genledger tests/launcher tests/semconv \
		--ignore tests/genledger/test_types.py

COMPAT := $(patsubst tests/%.txt,.venvs/%/.ready,$(wildcard tests/compat/*.txt))
NEIGHBOURS := .venvs/neighbours/newest

LOCAL := .venvs/contract/local
$(LOCAL)/.ready: TORCH = $(@D)/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0

.venvs/%/.ready: tests/%.lock pyproject.toml | $(UV)
	@echo "setting up $(@D)"
	@$(PYTHON) -m venv --clear $(@D)
	@$(TORCH)
	@$(UV) pip install --quiet --python $(@D)/bin/python --editable . --requirement $<
	@touch $@

.PHONY: test-compat
test-compat: $(COMPAT) ## Test with the oldest and the newest of each major version of the clients
	@set -e; for ready in $(COMPAT); do echo $${ready%/.ready}; $${ready%.ready}bin/python -m pytest tests/compat; done

BESIDE := $(filter-out $(NEIGHBOURS),$(patsubst tests/%.txt,.venvs/%,$(wildcard tests/neighbours/*.txt)))
OF_FRAMEWORKS := tests/neighbours/test_framework_neighbours.py

.PHONY: test-neighbours test-neighbours-of-clients test-neighbours-of-frameworks
test-neighbours: test-neighbours-of-clients test-neighbours-of-frameworks ## Test beside other vendors' instrumentation of the same client or framework
test-neighbours-of-clients: $(NEIGHBOURS)/.ready ## Of clients alone, as CI does
	$(NEIGHBOURS)/bin/python -m pytest tests/neighbours --ignore $(OF_FRAMEWORKS)
test-neighbours-of-frameworks: $(addsuffix /.ready,$(BESIDE)) ## Of frameworks alone: each beside each vendor
	@set -e; for at in $(BESIDE); do echo $$at; $$at/bin/python -m pytest -n 2 --dist loadgroup $(OF_FRAMEWORKS); done

DASHBOARDS := .venvs/dashboards/newest
GRAFANA := .venvs/grafana

$(GRAFANA)/.ready: tests/dashboards/packages.txt
	@echo "setting up $(@D)"
	@$(call installed,npm,npm)
	@rm -rf $(@D) && mkdir -p $(@D)
	@npm install --prefix $(@D) --no-save --no-package-lock --no-audit --no-fund --silent $$(cat $<)
	@touch $@

.PHONY: test-dashboards
test-dashboards: $(DASHBOARDS)/.ready $(GRAFANA)/.ready services ## Test dashboards and alert rules with Prometheus, and with the types and clients of those that read them
	GENLEDGER_TEST_GRAFANA=$(CURDIR)/$(GRAFANA) $(DASHBOARDS)/bin/python -m pytest -n 2 --dist loadfile tests/dashboards

FOREIGN := .venvs/foreign/newest

.PHONY: test-foreign
test-foreign: $(FOREIGN)/.ready ## Run the clients' own test suites without Genledger and with it, and print what differs
	$(FOREIGN)/bin/python tests/foreign/compare.py $(CLIENTS)

CONTRACT := $(filter-out $(LOCAL),$(patsubst tests/%.txt,.venvs/%,$(wildcard tests/contract/*.txt)))
NEWEST := .venvs/contract/newest

.PHONY: test-providers
test-providers: test-contract test-newest-clients test-clients-apart test-local-models coverage-check ## Hold the oldest and the newest of every client to the same promises

.PHONY: test-contract
test-contract: $(addsuffix /.ready,$(CONTRACT)) ## The contract suite alone, in every environment
	@set -e; for at in $(CONTRACT); do echo $$at; \
		case $$at in */newest|*/oldest) rows=;; *) rows="not openai and not anthropic";; esac; \
		$$at/bin/python -m pytest -n 2 tests/contract -k "$$rows" --coverage-results $$at/coverage.json; done

.PHONY: test-newest-clients
test-newest-clients: $(NEWEST)/.ready ## What is special about each client, and recorded traffic, with the newest versions
	$(NEWEST)/bin/python -m pytest -n 2 tests/instrumentors/frameworks tests/instrumentors/providers tests/replay

.PHONY: test-clients-apart
test-clients-apart: $(addprefix .venvs/contract/,ai21/.ready snowflake/.ready vertex/.ready) ## Likewise, of clients that need an environment of their own
	.venvs/contract/ai21/bin/python -m pytest tests/instrumentors/providers/test_ai21.py tests/instrumentors/providers/test_zhipuai.py
	.venvs/contract/snowflake/bin/python -m pytest tests/instrumentors/providers/test_snowflake.py
	.venvs/contract/vertex/bin/python -m pytest tests/replay -k vertexai

FRAMEWORKS := $(patsubst tests/%.txt,.venvs/%/.ready,$(wildcard tests/frameworks/*.txt))
OLDEST_FRAMEWORKS := $(filter .venvs/frameworks/oldest%,$(FRAMEWORKS))

.PHONY: test-frameworks test-frameworks-newest test-frameworks-oldest
test-frameworks: test-frameworks-newest test-frameworks-oldest ## Test agent frameworks, in environments of those that go together
test-frameworks-newest: $(filter-out $(OLDEST_FRAMEWORKS),$(FRAMEWORKS)) ## The newest versions alone, as CI does
test-frameworks-oldest: $(OLDEST_FRAMEWORKS) ## The oldest supported versions alone
test-frameworks-newest test-frameworks-oldest:
	@set -e; for ready in $^; do echo $${ready%/.ready}; \
		$${ready%.ready}bin/python -m pytest -n 2 --dist loadfile tests/instrumentors/frameworks; done

LOCAL_TESTS := $(foreach name,fastembed sentence_transformers transformers,tests/instrumentors/providers/test_$(name).py)

.PHONY: test-local-models
test-local-models: $(LOCAL)/.ready ## Test libraries that run models in the process, with tiny models made by the tests
	HF_HUB_OFFLINE=1 $(LOCAL)/bin/python -m pytest $(LOCAL_TESTS)

LLAMA := .venvs/llama-cpp

.PHONY: test-llama-cpp
test-llama-cpp: export CMAKE_ARGS = -DLLAVA_BUILD=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF \
	-DCMAKE_C_FLAGS=-O1 -DCMAKE_CXX_FLAGS=-O1
test-llama-cpp: $(LLAMA)/.ready ## Test llama.cpp likewise: not a part of CI, because it is compiled for many minutes
	$(LLAMA)/bin/python -m pytest tests/instrumentors/providers/test_llama_cpp.py

.PHONY: coverage coverage-check
coverage: ## Write docs/coverage.md from what test-contract found
	$(NEWEST)/bin/python -m tests.contract.coverage $(addsuffix /coverage.json,$(CONTRACT)) >docs/coverage.md
coverage-check:
	$(NEWEST)/bin/python -m tests.contract.coverage $(addsuffix /coverage.json,$(CONTRACT)) | diff docs/coverage.md -

COMPILE = $(UV) pip compile --quiet --python-version 3.11 --no-header --no-annotate
LOCKED := tests/llama-cpp.txt tests/browser.txt $(wildcard tests/compat/*.txt tests/contract/*.txt tests/frameworks/*.txt tests/neighbours/*.txt tests/foreign/*.txt \
	tests/dashboards/newest.txt)

.PHONY: locks
locks: $(UV) ## Take today's newest of everything into the lock files of the test environments
	@set -e; $(COMPILE) --upgrade pyproject.toml --extra dev --output-file tests/dev.lock; \
	for names in $(LOCKED); do echo $$names; \
		$(COMPILE) --upgrade pyproject.toml tests/common.txt $$names --output-file $${names%.txt}.lock; done

.PHONY: test-today
TODAY := .venvs/contract/today
test-today: $(UV) ## Try today's newest of every client: print which changed since the lock file, and run the contract suite
	@mkdir -p .venvs/contract
	@$(COMPILE) pyproject.toml tests/common.txt tests/contract/newest.txt --output-file $(TODAY).lock
	@diff --unchanged-line-format= --old-line-format='was %L' --new-line-format='now %L' tests/contract/newest.lock $(TODAY).lock || true
	@$(PYTHON) -m venv --clear $(TODAY)
	@$(UV) pip install --quiet --python $(TODAY)/bin/python --editable . --requirement $(TODAY).lock
	$(TODAY)/bin/python -m pytest -n 2 tests/contract tests/instrumentors/frameworks tests/instrumentors/providers

.PHONY: test-adversary
test-adversary: $(READY) services ## Attack redaction, budgets, delivery and files, at length
	GENLEDGER_TEST_ADVERSARY=long $(BIN)/python -m pytest tests/adversary -s

.PHONY: test-page
test-page: .venvs/browser/.ready ## Test the local page in Chromium
	@$(call installed,chromium,chromium)
	.venvs/browser/bin/python -m pytest tests/browser

.PHONY: services
services: ## Install what the tests start: Redis and Prometheus
	@$(call installed,redis-server,redis-server)
	@$(call installed,promtool,prometheus)

# A program, and Debian's package that has it.
installed = command -v $(1) >/dev/null || { echo "installing $(2)"; \
	root=$$(test "$$(id -u)" = 0 || echo sudo); \
	$$root apt-get update -qq && $$root apt-get install -y -qq --no-install-recommends $(2) >/dev/null; }

.PHONY: bench
bench: $(READY) ## Measure what instrumentation costs, against a hand-written span and the peers
	$(BIN)/python -m benchmarks

.PHONY: test-backends
test-backends: $(READY) ## Send to real backends (Datadog's test agent, Phoenix, MLflow) and compare their costs
	GENLEDGER_TEST_BACKENDS=ddapm,phoenix,mlflow $(BIN)/python -m pytest tests/backends

format: $(READY) ## Format the code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .

clean: ## Remove environments and caches
	rm -rf $(VENV) .venvs .mypy_cache .ruff_cache .pytest_cache
