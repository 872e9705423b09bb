# Everything runs in .venv, which the first command that needs it creates from pinned requirements.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
NEWEST := .venv-newest-trl

.PHONY: smoke test fuzz validate lint bench newest-trl clean

smoke: .venv/.ready ## set up, and run every TRL scenario
	$(BIN)/pytest --rlhf-scenario

test: .venv/.ready ## set up, and run every test
	$(BIN)/pytest -m "not fuzz" $(TEST_ARGS)

fuzz: .venv/.ready ## ten thousand inputs for the readers of logs, some ten minutes
	$(BIN)/pytest -m fuzz tests/robustness

validate: .venv/.ready ## train with and without faults; fails if the detectors find too few or flag health
	$(BIN)/pytest --rlhf-validate

lint: .venv/.ready ## style, types and the borders between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.ready ## one JSON line per benchmark
	@for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

newest-trl: $(NEWEST)/.ready ## the TRL scenarios against the newest TRL
	$(NEWEST)/bin/pytest --rlhf-scenario

.venv/.ready: requirements/main.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/main.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

$(NEWEST)/.ready: requirements/newest-trl.txt pyproject.toml
	$(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(NEWEST)/bin/pip install --quiet --disable-pip-version-check -r requirements/newest-trl.txt
	$(NEWEST)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf .venv $(NEWEST) build dist .pytest_cache .mypy_cache .ruff_cache
