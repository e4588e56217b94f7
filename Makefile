# Every command of the project. `make help` lists them. A fresh machine needs Python 3.11 or newer, make and git: Node
# and the CDK CLI come with the packages. CONTEXT="-c name=value …" is passed to the CDK.

# The Python to build on, tried in this order. The tests run on 3.11 to 3.13; a newer one is better than none. The
# embedded AWS runs the functions on it too, whatever the template says. PYTHON=/path/to/python chooses another.
PYTHON ?= python3.13 python3.12 python3.11 python3.14 python3
CHANNEL ?=
CHANNELS ?=
CONTEXT ?=
ENDPOINT ?=
PORT ?=
SEEDS ?= 1000
SEED ?=
TRACE ?=
BEFORE ?=
SINCE ?=
FROM ?=
DELIVERED ?=
QUICK ?=
SET ?=
FILE ?=
YES ?=
POLICY ?= korea
ZONE ?=
DAY ?=
DAYS ?=
FOLDER ?=
PLACE ?=
SOURCES ?=

JAVASCRIPT := examples/producers/javascript

# Without byte code, each of the many processes that a test starts would compile its imports again: 3 s of CPU.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/node_modules/.bin:$(PATH)
export CHANNELS CONTEXT ENDPOINT PORT SET SOURCES
export MAKE_STARTED_S := $(shell date +%s)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo local local-status local-stop server notebook redrive channels-set consents-import \
  consents-export consents-due restore-consents restore-ledger bootstrap deploy nights situations bench night-picture \
  policy holidays sam-env unit test reference test-slow check evening openapi events lock clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- for users --------------------------------------------------------------------------------------------------------

demo: setup ## play an evening with quiet hours on the embedded AWS and count at the receiver (CHANNELS=all, HANGS=solapi)
	@python -m demo.run

local: setup ## start the embedded AWS, deploy the stack and leave it running (PORT=4566; ENDPOINT=url of one that runs)
	@python -m local.start

local-status: setup ## show how many messages each queue of `make local` holds
	@python -m local.status

local-stop: ## stop what `make local` started
	@if [ -x .venv/bin/python ]; then python -m local.stop; else echo "nothing is running"; fi

server: setup ## answer POST /send and GET /test on 127.0.0.1, with a clock that can be set (PORT=8080; SOURCES=modules)
	@python -m simulation.server

notebook: setup .venv-notebook/.filled ## open examples/sqs.ipynb in JupyterLab, beside the embedded AWS with the stack
	@python -m local.notebook

redrive: setup ## bring dead letters back (OUTPUTS=file for an account; RESEND_UNKNOWN=1; EXPIRED=keep|drop)
	@python -m operators.redrive

channels-set: setup ## change one channel's settings (CHANNEL=sms SET="from=…" FILE=credentials; YES=1; OUTPUTS=file)
	@python -m operators.channels set "$(CHANNEL)" $(if $(FILE),--file "$(FILE)") $(if $(YES),--yes)

consents-import: setup ## import consents from a CSV file (FILE=path; OUTPUTS=file for an account; docs/consent.md)
	@python -m operators.consents import $(FILE)

consents-export: setup ## export all consents to a CSV file (FILE=path; OUTPUTS=file for an account)
	@python -m operators.consents export $(FILE)

consents-due: setup ## list who must be notified again before a day (BEFORE=2027-11-01; OUTPUTS=file for an account)
	@python -m operators.consents due --before "$(BEFORE)"

restore-consents: setup ## put back lost consents and opt-outs (SINCE=time, FROM=table; OUTPUTS=file; docs/restore.md)
	@python -m operators.restore consents --since "$(SINCE)" $(if $(FROM),--from "$(FROM)")

restore-ledger: setup ## put back lost ledger entries (FROM=table, DELIVERED=file; OUTPUTS=file; docs/restore.md)
	@python -m operators.restore ledger $(if $(FROM),--from "$(FROM)") $(if $(DELIVERED),--delivered "$(DELIVERED)")

bootstrap: setup ## prepare an AWS account and region for the CDK, once
	cdk bootstrap $(CONTEXT)

deploy: setup ## deploy to the AWS account of the environment; writes build/deployed.json (for OUTPUTS=)
	@mkdir -p build
	cdk deploy --outputs-file build/deployed.json $(CONTEXT)

nights: setup ## simulate nights with faults (SEEDS=number), or show one of them (SEED=123 TRACE=1)
	@python -m simulation $(if $(SEED),--seed $(SEED) $(if $(TRACE),--trace),--seeds $(SEEDS))

situations: setup ## play large campaigns, outages and slips in virtual time; writes docs/situations.md
	@python -m simulation.situations

policy: .venv/.filled ## show a policy's closures and what it does when (POLICY=korea ZONE=… DAY=2026-12-24 DAYS=3)
	@python -m tools.policy_table "$(POLICY)" $(if $(ZONE),--zone "$(ZONE)") $(if $(DAY),--day "$(DAY)") \
	  $(if $(DAYS),--days "$(DAYS)") $(if $(FOLDER),--folder "$(FOLDER)")

holidays: .venv-holidays/.filled ## list the public holidays of a place for policy files (PLACE=FR or DE-BY)
	@.venv-holidays/bin/python -m tools.public_holidays "$(PLACE)"

bench: setup ## measure everything in twenty minutes (QUICK=1: in three minutes); writes build/bench.json
	@python -m benchmarks $(if $(QUICK),--quick)

night-picture: setup ## draw docs/night.svg from one simulated night
	@python -m tools.night_picture

# A container of another architecture runs under emulation, in which most functions never answer.
architecture := $(if $(filter x86_64 amd64,$(shell uname -m)),x86_64,arm64)

sam-env: setup .venv-sam/.filled ## prepare `sam local invoke` against the running `make local` (docs/local.md)
	cdk synth QuietHours --quiet --output build/sam -c localEndpoint=true -c architecture=$(architecture) $(CONTEXT) \
	  -c stackName=QuietHours -c env=
	@python -m local.sam_env

# --- for developers ---------------------------------------------------------------------------------------------------

unit: .venv/.filled ## run the unit tests: no embedded AWS, no CDK, no simulated nights
	@# No unit test uses schemathesis, and each process would take half a second to import it.
	python -m pytest -n 3 --dist worksteal -p no:schemathesis -m "not slow" tests/unit

test: setup .venv-notebook/.filled ## run every test except the slow ones
	@# Tests that share a stack form a group, and a group runs in one process (tests/conftest.py). There are four
	@# processes on two cores because the embedded AWS makes some of them wait.
	python -m pytest -n 4 --dist loadgroup -m "not slow"

reference: setup .venv-notebook/.filled ## run the tests that docs/reference.md names, row by row
	@python -m tools.reference

test-slow: setup .venv-sam/.filled .venv-producers/.filled $(JAVASCRIPT)/node_modules/.filled ## run the slow tests; they fail where a tool is missing
	python -m pytest -n 3 --dist loadgroup -m slow

check: setup ## check format, lint, types, the synthesised template (cdk-nag, cfn-lint)
	ruff format --check .
	ruff check .
	mypy
	cdk synth --quiet --no-notices --output build/check -c nag=true $(CONTEXT)
	cfn-lint build/check/*.template.json

evening: setup ## generate demo/evening.jsonl and demo/consents.jsonl from their seed
	python -m demo.evening

openapi: setup ## generate docs/openapi.json from the validation rules
	@python -m tools.openapi

events: setup ## generate the sample events in events/
	@python -m tools.events

lock: .venv/bin/uv ## pin the versions and hashes of every requirements file and of package.json
	@for lock in requirements lambdas/requirements requirements/dev requirements/ministack requirements/notebook \
	  requirements/sam requirements/producers requirements/holidays requirements/uv; do \
	  echo "$$lock.txt" && uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --custom-compile-command "make lock" $$lock.in --output-file $$lock.txt || exit 1; done
	@$(MAKE) --no-print-directory .venv/.filled
	npm install --package-lock-only
	cd $(JAVASCRIPT) && npm install --package-lock-only

clean: local-stop ## remove everything that was built or installed
	rm -rf build cdk.out .aws-sam node_modules .venv .venv-ministack .venv-notebook .venv-sam .venv-producers \
	  .venv-holidays $(JAVASCRIPT)/node_modules \
	  .pytest_cache .ruff_cache .mypy_cache .hypothesis

# --- setup: it does nothing while each stamp is newer than its lock file ----------------------------------------------

setup: .venv/.filled .venv-ministack/.filled node_modules/.filled ## install what the other commands need; they call it

fits := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

.venv/bin/python:
	@for python in $(PYTHON); do \
	  if $$python -c '$(fits)' 2>/dev/null; then exec $$python -m venv --clear .venv; fi; done; \
	echo "Python 3.11 or newer with venv and pip is needed, and none of these is one: $(PYTHON)" \
	  "(PYTHON=/path/to/python names another)." >&2; exit 1

.venv-ministack/bin/python .venv-notebook/bin/python .venv-sam/bin/python .venv-producers/bin/python \
  .venv-holidays/bin/python: %/bin/python: | .venv/bin/python
	@.venv/bin/python -m venv --clear $*

# uv fills the first venv in 14 s, pip in 100 s. pip installs uv and checks its hash.
.venv/bin/uv: requirements/uv.txt | .venv/bin/python
	@$(call try,the installer of requirements/uv.txt,.venv/bin/python -m pip install --retries 2 --require-hashes -r $<)
	@touch $@

.venv/.filled: requirements/dev.txt .venv/bin/uv
	@$(call fill,.venv,$<)

.venv-ministack/.filled: requirements/ministack.txt .venv/bin/uv | .venv-ministack/bin/python
	@$(call fill,.venv-ministack,$<)

.venv-notebook/.filled: requirements/notebook.txt .venv/bin/uv | .venv-notebook/bin/python
	@$(call fill,.venv-notebook,$<)

.venv-sam/.filled: requirements/sam.txt .venv/bin/uv | .venv-sam/bin/python
	@$(call fill,.venv-sam,$<)

.venv-producers/.filled: requirements/producers.txt .venv/bin/uv | .venv-producers/bin/python
	@$(call fill,.venv-producers,$<)

$(JAVASCRIPT)/node_modules/.filled: $(JAVASCRIPT)/package-lock.json .venv/.filled
	@$(call try,the AWS SDK of $<,cd $(JAVASCRIPT) && npm ci)
	@touch $@

.venv-holidays/.filled: requirements/holidays.txt .venv/bin/uv | .venv-holidays/bin/python
	@$(call fill,.venv-holidays,$<)

node_modules/.filled: package-lock.json .venv/.filled
	@$(call try,the CDK CLI of package-lock.json,npm ci)
	@touch $@

# $(call fill,VENV,LOCK): install exactly what the lock file names. uv does not read pip's configuration: where only pip
# knows the package index, pip installs.
fill = $(call try,the packages of $(2),{ .venv/bin/uv pip sync --python $(1)/bin/python --require-hashes $(2) || \
  $(1)/bin/python -m pip install --retries 2 --require-hashes -r $(2); }) && touch $@

# $(call try,WHAT,COMMAND): run quietly; when it fails, print one sentence.
try = mkdir -p build && echo "setup: $(1)" && { $(2); } >build/setup.log 2>&1 || { \
  echo "Could not install $(1): is the network up and the package registry reachable? (build/setup.log has the details)" \
  >&2; exit 1; }
