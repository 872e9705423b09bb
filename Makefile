# Everything runs in .venv, which the first command that needs it creates from pinned requirements.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
NEWEST := .venv-newest-trl
OPENRLHF := .venv-openrlhf

.PHONY: smoke test thorough fuzz openrlhf-test validate lint bench newest-trl openrlhf-env clean

smoke: .venv/.ready ## set up, and run every TRL scenario
	$(BIN)/pytest --rlhf-scenario --rlhf-strict

test: .venv/.ready ## set up, and run the tests: two at a time, then those that need the machine alone
	$(BIN)/pytest -n 2 --dist worksteal -m "not fuzz and not thorough and not alone" $(TEST_ARGS)
	$(BIN)/pytest -m "alone and not fuzz and not thorough" $(TEST_ARGS)

thorough: .venv/.ready ## the whole calibration tables, every scenario on five seeds: some forty minutes
	$(BIN)/pytest -m thorough tests/calibration tests/scenarios --ignore=tests/scenarios/test_openrlhf.py

fuzz: .venv/.ready ## ten thousand inputs for the readers of logs, some ten minutes
	$(BIN)/pytest -m fuzz tests/robustness

openrlhf-test: .venv/.ready $(OPENRLHF)/.ready ## every fault and scenario of OpenRLHF, on several seeds: an hour
	$(BIN)/pytest -m "training" tests/plugins/rlhf_assert_openrlhf tests/plugins/rlhf_assert_ray tests/scenarios/test_openrlhf.py tests/robustness/test_kill_openrlhf.py

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

openrlhf-env: $(OPENRLHF)/.ready ## OpenRLHF in an environment of its own: its pins conflict with TRL's

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

# Every package is pinned, so pip need not resolve anything; OpenRLHF's and vLLM's own demands (flash-attn, CUDA) are
# left out on purpose: the CPU needs none of them.
$(OPENRLHF)/.ready: requirements/openrlhf.txt requirements/openrlhf-deepspeed.txt
	$(PYTHON) -m venv $(OPENRLHF)
	$(OPENRLHF)/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements/openrlhf.txt
	DS_BUILD_OPS=0 $(OPENRLHF)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		-r requirements/openrlhf-deepspeed.txt
	PATH="$(CURDIR)/$(OPENRLHF)/bin:$$PATH" DS_ACCELERATOR=cpu TORCH_EXTENSIONS_DIR=$(CURDIR)/$(OPENRLHF)/torch_extensions \
		$(OPENRLHF)/bin/python plugins/rlhf_assert_openrlhf/inside/operators.py
	touch $@

clean:
	rm -rf .venv $(NEWEST) $(OPENRLHF) build dist .pytest_cache .mypy_cache .ruff_cache
