# The developer's whole interface. Everything is built in .venv; python3 (3.11+) and make suffice.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# One process more than there are cores: many tests wait for Ray, for a server, for a kill.
TESTERS ?= $(shell $(PYTHON) -c 'import os; print(min(4, 1 + (os.cpu_count() or 1)))')

# Bytecode is kept: else each of the many processes of the tests compiles what it imports again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check soak bench bench-gate fmt lock torch compiled clean

demo: compiled          ## the main job: five nights of a training loop, on real data
	$(BIN)/ratchet demo

test: compiled          ## every test that needs nothing but this machine
	$(BIN)/pytest -m "not alone" --numprocesses $(TESTERS) --dist loadfile
	$(BIN)/pytest -m alone tests/integration/ray_jobs

check: $(READY)         ## style, types, import contracts, and the project's own flows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/ratchet check

soak: compiled          ## 11,000 simulated nights, and real kills: about an hour
	$(BIN)/python -m tests.simulation --seeds 10000
	$(BIN)/python -m tests.simulation --seeds 1000 --database postgresql
	$(BIN)/python -m tests.soak

bench: compiled         ## every figure that the README states, measured here and now
	$(BIN)/python -m benchmarks

bench-gate: compiled    ## simulated years of the gate and of other rules: the tables of docs/gate-figures.md
	$(BIN)/python -m benchmarks.gate $(ARGS)

fmt: $(READY)           ## format, and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

torch: $(READY)         ## the PyTorch trainer's dependency, for its tests
	$(BIN)/pip install --quiet --disable-pip-version-check "torch==2.13.0"

lock: $(READY)          ## resolve pyproject.toml anew into requirements.lock
	$(BIN)/uv pip compile --quiet --universal --no-header --no-annotate \
	  --group pyproject.toml:dev --extra notebook --extra postgres --extra xgboost \
	  pyproject.toml -o requirements.lock

compiled: $(READY)      # as a wheel is when it is installed
	$(BIN)/python -m compileall -q flows feature_store ray_jobs registry

$(READY): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Ratchet needs Python 3.11 or newer: make PYTHON=python3.11")'
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check "uv==0.13.9"
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $(READY)

clean:                  ## remove what was built; runs and models in .ratchet stay
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
