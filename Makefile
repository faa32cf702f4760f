# The front door. `make demo`, `make test`, `make check` and `make serve` set up what they need by themselves.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
# uv where it is installed, else pip: both take the same lock, with the same hashes.
INSTALL := $(if $(shell command -v uv),uv pip install --quiet --python $(BIN)/python,$(BIN)/python -m pip install --quiet --disable-pip-version-check)

# The JavaScript clients that tests drive, where there is npm; without it those tests are skipped, and say so.
NODE_CLIENTS := $(if $(shell command -v npm),tests/clients/node_modules/.installed)

# The S3 server that tests start: what it needs can't live beside what we need.
S3_SERVER := $(VENV)/s3-server

.PHONY: help demo serve test faults check format bench bench-motion openapi lock clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/.run  ## make a video longer through the HTTP API, and show it (INPUT=photo.jpg or clip.mp4 takes yours)
	$(BIN)/python -m examples.demo $(if $(INPUT),--input "$(INPUT)") $(if $(OUT),--out "$(OUT)")

serve: $(VENV)/.run  ## start the server (ARGS="--port 9000 --data DIR")
	$(BIN)/longtake serve $(ARGS)

test: $(VENV)/.dev $(S3_SERVER)/.installed $(NODE_CLIENTS)  ## run the tests (ARGS="-k seam")
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

faults: $(VENV)/.dev $(S3_SERVER)/.installed  ## kill, freeze and cut off a fleet for minutes, and count (ARGS="--seconds 240 --seed 7")
	LONGTAKE_REQUIRE=faults $(BIN)/python -m pytest -n auto --dist loadfile tests/faults
	$(BIN)/python -m tests.faults.chaos $(ARGS)

check: $(VENV)/.dev  ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev  ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev  ## measure (see bench/)
	$(BIN)/python -m bench $(ARGS)

bench-motion: $(VENV)/.dev  ## measure the motion engine on real clips (LONGTAKE_CLIPS=DIR; pictures in bench-out/)
	$(BIN)/python -m bench.motion $(ARGS)

openapi: $(VENV)/.run  ## write docs/openapi/, the document of each protocol, from the code
	$(BIN)/python -m longtake.wire.documents docs/openapi

lock:  ## bring the lock files up to date (needs uv, and npm)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml --group build -o requirements/run.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml --group build --extra traces -c requirements/run.lock -o requirements/traces.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml --group build --group dev -c requirements/run.lock -o requirements/dev.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/s3.in -o requirements/s3.lock
	cd tests/clients && npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund

clean:  ## remove what the other targets made
	rm -rf $(VENV) tests/clients/node_modules demo-out bench-out .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Longtake needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/run.lock pyproject.toml | $(BIN)/python
	$(INSTALL) --require-hashes -r requirements/run.lock
	$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.lock pyproject.toml | $(BIN)/python
	$(INSTALL) --require-hashes -r requirements/dev.lock
	$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.run

$(S3_SERVER)/.installed: requirements/s3.lock | $(BIN)/python
	$(PYTHON) -m venv $(S3_SERVER)
	$(subst $(BIN),$(S3_SERVER)/bin,$(INSTALL)) --require-hashes -r requirements/s3.lock
	@touch $@

tests/clients/node_modules/.installed: tests/clients/package-lock.json
	cd tests/clients && npm ci --ignore-scripts --no-audit --no-fund --loglevel error
	@touch $@
