# Every command of the project; `make` alone lists them. A fresh machine needs Python 3.11 or newer, make and git:
# Node and the CDK CLI come with the packages. CONTEXT="-c name=value …" is handed to the CDK.

# The Python to build on, tried in this order: 3.13 to 3.11 are what the tests run on, a newer one is better than none.
# The embedded AWS runs the functions on it too, whatever the template says. PYTHON=/path/to/python decides.
PYTHON ?= python3.13 python3.12 python3.11 python3.14 python3
CHANNELS ?=
CONTEXT ?=
PORT ?=
SEEDS ?= 1000
SEED ?=
TRACE ?=
QUICK ?=

export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/node_modules/.bin:$(PATH)
export CHANNELS CONTEXT PORT
export MAKE_STARTED_S := $(shell date +%s)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test check local local-status local-stop redrive consents-import consents-export bootstrap deploy \
  nights bench sam-env evening openapi events lock clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- what users run ---------------------------------------------------------------------------------------------------

demo: setup ## play an evening through a quiet window on the embedded AWS, counted at the receiver (CHANNELS=all)
	@python -m demo.run

test: setup .venv-sam/.filled ## run every test
	@# What shares a stack is one group and stays in one process (tests/embedded/conftest.py). Three, because two of them
	@# mostly wait for the embedded AWS.
	python -m pytest -n 3 --dist loadgroup

check: setup ## formatter, linter, types, synth with cdk-nag, template lint
	ruff format --check .
	ruff check .
	mypy
	cdk synth --quiet --no-notices --output build/check -c nag=true $(CONTEXT)
	cfn-lint build/check/*.template.json

local: setup ## the embedded AWS with the stack deployed, left running (PORT=4566 unless told)
	@python -m local.start

local-status: setup ## how deep every queue of `make local` is
	@python -m local.status

local-stop: ## end what `make local` started
	@if [ -x .venv/bin/python ]; then python -m local.stop; else echo "nothing is running"; fi

redrive: setup ## dead-letter back to notification (OUTPUTS=… and AWS credentials for an account; RESEND_UNKNOWN=1)
	@python -m operators.redrive

consents-import: setup ## let a CSV file of consents count (FILE=…, OUTPUTS=… for an account; docs/consent.md)
	@python -m operators.consents import $(FILE)

consents-export: setup ## write every consent into a CSV file (FILE=…, OUTPUTS=… for an account)
	@python -m operators.consents export $(FILE)

bootstrap: setup ## cdk bootstrap, once for an AWS account and region
	cdk bootstrap $(CONTEXT)

deploy: setup ## cdk deploy to the AWS account of the environment; writes build/deployed.json (for OUTPUTS=)
	@mkdir -p build
	cdk deploy --outputs-file build/deployed.json $(CONTEXT)

nights: setup ## simulated nights with faults (SEEDS=n), or one of them (SEED=123 TRACE=1)
	@python -m simulation $(if $(SEED),--seed $(SEED) $(if $(TRACE),--trace),--seeds $(SEEDS))

bench: setup ## measure everything, about ten minutes (QUICK=1: under two); writes build/bench.json
	@python -m benchmarks $(if $(QUICK),--quick)

sam-env: setup .venv-sam/.filled ## what `sam local invoke` needs, from the running `make local` (docs/local.md)
	cdk synth QuietHours --quiet --output build/sam -c localEndpoint=true $(CONTEXT)
	@python -m local.sam_env

# --- what developers run ----------------------------------------------------------------------------------------------

evening: setup ## make demo/evening.jsonl and demo/consents.jsonl again from their seed
	python -m demo.evening

openapi: setup ## make docs/openapi.json again from what validates
	@python -m tools.openapi

events: setup ## make events/ again from the project's own formats
	@python -m tools.events

lock: .venv/bin/uv ## resolve requirements*.in and package.json again, with hashes
	@for lock in requirements lambdas/requirements requirements/dev requirements/ministack requirements/sam \
	  requirements/uv; do \
	  echo "$$lock.txt" && uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --custom-compile-command "make lock" $$lock.in --output-file $$lock.txt || exit 1; done
	@$(MAKE) --no-print-directory .venv/.filled
	npm install --package-lock-only

clean: local-stop ## remove everything that was built or installed
	rm -rf build cdk.out .aws-sam node_modules .venv .venv-ministack .venv-sam \
	  .pytest_cache .ruff_cache .mypy_cache .hypothesis

# --- setup: stamps are older than their lock file or there is nothing to do -------------------------------------------

setup: .venv/.filled .venv-ministack/.filled node_modules/.filled ## install what the other commands need (they ask for it)

fits := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

.venv/bin/python:
	@for python in $(PYTHON); do \
	  if $$python -c '$(fits)' 2>/dev/null; then exec $$python -m venv --clear .venv; fi; done; \
	echo "Python 3.11 or newer with venv and pip is needed, and none of these is one: $(PYTHON)" \
	  "(PYTHON=/path/to/python names another)." >&2; exit 1

.venv-ministack/bin/python .venv-sam/bin/python: %/bin/python: | .venv/bin/python
	@.venv/bin/python -m venv --clear $*

# uv and not pip: 14 s instead of 100 s for the first venv. pip brings it, checked by its hash.
.venv/bin/uv: requirements/uv.txt | .venv/bin/python
	@$(call try,the installer of requirements/uv.txt,.venv/bin/python -m pip install --retries 2 --require-hashes -r $<)
	@touch $@

.venv/.filled: requirements/dev.txt .venv/bin/uv
	@$(call fill,.venv,$<)

.venv-ministack/.filled: requirements/ministack.txt .venv/bin/uv | .venv-ministack/bin/python
	@$(call fill,.venv-ministack,$<)

.venv-sam/.filled: requirements/sam.txt .venv/bin/uv | .venv-sam/bin/python
	@$(call fill,.venv-sam,$<)

node_modules/.filled: package-lock.json .venv/.filled
	@$(call try,the CDK CLI of package-lock.json,npm ci)
	@touch $@

# $(call fill,VENV,LOCK): the venv holds what the lock names and nothing else. Where only pip is told of a package
# index, which uv does not read, pip does it.
fill = $(call try,the packages of $(2),{ .venv/bin/uv pip sync --python $(1)/bin/python --require-hashes $(2) || \
  $(1)/bin/python -m pip install --retries 2 --require-hashes -r $(2); }) && touch $@

# $(call try,WHAT,COMMAND): quiet, and one sentence when it fails.
try = mkdir -p build && echo "setup: $(1)" && { $(2); } >build/setup.log 2>&1 || { \
  echo "Could not install $(1): is the network up and the package registry reachable? (build/setup.log has the details)" \
  >&2; exit 1; }
