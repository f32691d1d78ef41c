# Every target sets itself up: a virtual environment from the hash-locked requirements, Node.js from
# the package index, the CDK command line from package-lock.json. A second run installs nothing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
OUT ?= cdk.out
STAGE ?=
BIN := $(abspath $(VENV))/bin
CDK := $(abspath node_modules)/.bin/cdk
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Python compiles a module when it is first imported, and keeps that unless it is told not to; compiling all of the CDK
# beforehand takes most of the set-up's time.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(PIP) install --no-compile --require-hashes
PYTEST_ARGS ?=
BENCH_ARGS ?=
DEPLOY_ARGS ?=
REHEARSE_ARGS ?=
LOCAL_ARGS ?=
CONTEXT := $(if $(STAGE),-c stage=$(STAGE))

# The bin folder of the environment comes first, so that its Node.js serves the CDK.
export PATH := $(BIN):$(PATH)
export CDK_DISABLE_VERSION_CHECK := 1
export JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION := 1

.PHONY: help
help: ## Show the targets.
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.synth: requirements.txt package-lock.json | $(VENV)/bin/python
	$(INSTALL) -r requirements.txt
	npm ci --no-audit --no-fund --loglevel=error
	$(BIN)/python -m ops.bluegreen.install
	touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.synth
	$(INSTALL) -r requirements-dev.txt
	touch $@

.PHONY: setup
setup: $(VENV)/.dev ## Install everything, for working on the project.

.PHONY: synth
synth: $(VENV)/.synth ## Synthesize the templates into cdk.out (STAGE=name chooses a stage).
	$(CDK) synth --quiet --output $(OUT) $(CONTEXT)
	@echo "Templates: $(OUT)/*.template.json"

.PHONY: deploy
deploy: $(VENV)/.synth ## Deploy STAGE, unless that would undo a shift or break replication (DEPLOY_ARGS=--help).
	$(BIN)/python -m ops.deploy_guard $(if $(STAGE),--stage $(STAGE)) $(DEPLOY_ARGS)

.PHONY: deploy-local
deploy-local: $(VENV)/.dev ## Deploy the stage local into a local AWS with real databases, and leave it running (LOCAL_ARGS=--help).
	$(BIN)/python -m rehearsal.local_aws deploy $(LOCAL_ARGS)

.PHONY: destroy-local
destroy-local: $(VENV)/.dev ## End what deploy-local left running.
	$(BIN)/python -m rehearsal.local_aws destroy

.PHONY: test
test: $(VENV)/.dev ## Run every test, the linter and the type checker.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: check
check: $(VENV)/.dev ## Format, lint, types and the fast tests: what to run before a commit.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

.PHONY: format
format: $(VENV)/.dev ## Format the code and mend what the linter can mend.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: bench-service
bench-service: $(VENV)/.dev ## Measure what one process of the payment service sustains (BENCH_ARGS=--json).
	$(BIN)/python -m rehearsal.benchmarks.bench_service $(BENCH_ARGS)

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.PHONY: lock
lock: | $(VENV)/bin/python ## Make the lock files anew after a change of a requirements*.in or package.json.
	$(BIN)/uv --version >/dev/null 2>&1 || $(PIP) install uv
	$(COMPILE) requirements.in -o requirements.txt
	$(COMPILE) requirements-dev.in -o requirements-dev.txt
	$(COMPILE) service/requirements.in -o service/requirements.txt
	npm install --package-lock-only --no-audit --no-fund

.PHONY: rehearse
rehearse: $(VENV)/.dev ## Rehearse the whole migration on this machine (REHEARSE_ARGS=--help, --list).
	$(BIN)/python -m rehearsal $(REHEARSE_ARGS)

.PHONY: rehearse-faults
rehearse-faults: $(VENV)/.dev ## Rehearse the fault matrix and the negative controls.
	$(BIN)/python -m rehearsal --scenario faults $(REHEARSE_ARGS)

.PHONY: bench-rehearse
bench-rehearse: $(VENV)/.dev ## Measure the highest rate without a failure, pauses and rollbacks (BENCH_ARGS=--json, --repeat N).
	$(BIN)/python -m rehearsal.benchmarks.bench_rehearse $(BENCH_ARGS)

.PHONY: docs
docs: $(VENV)/.dev ## Write the generated parts of the documentation: picture, configuration reference, costs.
	$(BIN)/python -m docs.generate

.PHONY: record-session
record-session: $(VENV)/.dev ## Record a cutover and its rollback at the command line, on the local AWS: docs/session.svg.
	$(BIN)/python -m docs.generate.session

.PHONY: bench-synth
bench-synth: $(VENV)/.dev ## Measure a synthesis against that of an empty CDK app (BENCH_ARGS=--json, --runs N).
	$(BIN)/python -m benchmarks.bench_synth $(BENCH_ARGS)

.PHONY: policy
policy: synth ## Check the synthesized templates against PCI DSS 4.0.1.
	$(BIN)/python -m policy $(OUT)

.PHONY: pci-report
pci-report: synth ## Write the matrix for an auditor: build/pci-dss-4.0.1.html and docs/pci-dss-4.0.1.md.
	$(BIN)/python -m policy.report $(OUT) --html build/pci-dss-4.0.1.html --markdown docs/pci-dss-4.0.1.md

.PHONY: pci-mutations
pci-mutations: synth ## Break the templates in every way that a rule guards against, and count what is noticed.
	$(BIN)/python -m policy.mutations $(OUT)

.PHONY: bench-policy
bench-policy: synth ## Measure what the policy pack adds to a synthesis (at most 10 % is allowed).
	$(BIN)/python -m policy.benchmark $(OUT)

.PHONY: bench-verdict
bench-verdict: $(VENV)/.dev ## Compare the verdict with the rules of Flagger, Argo Rollouts and alarms (BENCH_ARGS=--json, --runs N, --seed N).
	$(BIN)/python -m benchmarks.bench_verdict $(BENCH_ARGS)

.PHONY: clean
clean: ## Remove what the targets made, the environment too.
	rm -rf $(VENV) node_modules $(OUT) build .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: bench-switch
bench-switch: $(VENV)/.dev ## Measure how long no payment is taken while the writer is switched (BENCH_ARGS=--json, --repeat N, --delay N).
	$(BIN)/python -m benchmarks.bench_switch $(BENCH_ARGS)
