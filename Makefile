# make demo    the whole pipeline once, with a check at its end        make test   unit, integration, some faults
# make up      the same stack, left running (RUN_DIR, default .run)     make lint   ruff and mypy
# make down    stop it and keep its state                               make lock   pin the requirements anew
# make clean   stop it and forget its state                              make faults   every fault, on real processes
# make test-postgres   load and live phase on PostgreSQL 14 and 18       make bench    figures, side by side with others
SHELL := /bin/sh
RUN_DIR ?= .run
USERS ?= 2000
# The newest Python that is there, from the one that this was developed with on.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
PY := .venv/bin/python
export RUN_DIR

.PHONY: up down status clean demo test test-postgres faults bench lint lock generate

# A stamp, so that it is done once, and again when the requirements change.
.venv/.ready: requirements/dev.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, none was found: install one (python.org or your package manager) or call make PYTHON=..." >&2; exit 2; }
	@$(PYTHON) demo/stack/prerequisites.py
	@echo "making .venv (once) ..." >&2
	@$(PYTHON) -m venv .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

.venv: .venv/.ready

# The peers of the measurements have an environment of their own (bench/peers/README.md).
.venv-bench/.ready: requirements/bench.txt .venv/.ready
	@echo "making .venv-bench (once) ..." >&2
	@$(PY) -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	@touch $@

up: .venv/.ready
	@$(PY) -m demo.stack up

down: .venv/.ready
	@$(PY) -m demo.stack down

status: .venv/.ready
	@$(PY) -m demo.stack status

clean: .venv/.ready
	@$(PY) -m demo.stack clean

demo: .venv/.ready
	@$(PY) -m demo --users $(USERS)

test: .venv/.ready
	@$(PY) -m tests.lanes

# Load and live phase on other versions than the usual one: the oldest and the newest, or those of POSTGRES="15 16".
POSTGRES ?= 14 18
test-postgres: .venv/.ready
	@set -e; for version in $(POSTGRES); do $(PY) -m pytest tests/integration/test_load.py tests/integration/test_changes.py \
		tests/integration/test_deletions.py tests/integration/test_source.py --postgres "$$version"; done

# ONLY=F10 (or "F10 F11") runs some and replaces their rows, REPEAT=3 each three times. Writes the table of docs/reliability.md.
REPEAT ?= 1
faults: .venv/.ready
	@$(PY) -m tests.faults $(addprefix --only ,$(ONLY)) --repeat $(REPEAT)

# Half an hour to an hour; FULL=1 hours; ONLY=deliver (or "join deliver") some. Writes bench/results.json, docs/figures.md and README.md.
bench: .venv/.ready .venv-bench/.ready
	@$(PY) -m bench $(if $(FULL),--full) $(if $(ONLY),--only $(ONLY))

lint: .venv/.ready
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

# Writes connectors/cidaas_sync.json, connectors/sql/ and pipeline.schema.json; tests hold them to pipeline.toml and the code.
generate: .venv/.ready
	@$(PY) -m streams.source
	@$(PY) -m streams.settings

# Hashes, and no address of an index or a mirror.
COMPILE := .venv/lock/bin/pip-compile --quiet --allow-unsafe --generate-hashes --strip-extras \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links
lock: .venv/.ready
	@test -x .venv/lock/bin/pip-compile || { $(PY) -m venv .venv/lock && .venv/lock/bin/pip install --quiet pip-tools; }
	@cd requirements && ../$(firstword $(COMPILE)) $(wordlist 2,99,$(COMPILE)) --output-file=runtime.txt runtime.in
	@cd requirements && ../$(firstword $(COMPILE)) $(wordlist 2,99,$(COMPILE)) --output-file=dev.txt dev.in
	@cd requirements && ../$(firstword $(COMPILE)) $(wordlist 2,99,$(COMPILE)) --output-file=bench.txt bench.in
