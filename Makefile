# `make demo` and `make test` do all their own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

DEMO := runs/demo
DEMO_STEPS ?= 700000

.PHONY: setup test fast lint types unit quick demo docs pictures format clean

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,tune,data,export,llm,testbed,kernel,explore,cluster,docs,dev]'
	touch $@

# Sets up .venv, and nothing more.
setup: $(VENV)/.ready

test: lint types unit

# What is worth running after every change: everything but tests with the marker `slow`.
fast: lint types quick

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell
	$(BIN)/python docs/translations.py

types: $(VENV)/.ready
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/mypy.ini

unit: $(VENV)/.ready
	$(BIN)/pytest -n 2 --dist loadgroup --cov --cov-report=term:skip-covered

quick: $(VENV)/.ready
	$(BIN)/pytest -n 2 -q -m "not slow"

# Trains PPO on the paper's cell, compares it with the baselines, and draws one step.
demo: $(VENV)/.ready
	rm -rf $(DEMO)
	$(BIN)/python train.py --scenario paper --algo ppo --timesteps $(DEMO_STEPS) --run-dir $(DEMO)/ppo
	$(BIN)/python evaluate.py --scenario paper --policies top-k,top-k+bandwidth,wdmoe,dynamic-skipping,constant-price,price,random,$(DEMO)/ppo \
		--episodes 200 --out $(DEMO)/comparison --wandb offline
	$(BIN)/python -m evaluation.snapshot --policy $(DEMO)/ppo --out $(DEMO)/step.png

# The site of the guides in build/docs, notebooks run; then every link of it is followed.
docs: $(VENV)/.ready
	$(BIN)/python docs/generate.py --check
	$(BIN)/python -m sphinx -b html -W --keep-going docs build/docs
	$(BIN)/python docs/check_links.py build/docs

# The pictures of the page in the documentation, as its tests see them; needs Chromium.
pictures: $(VENV)/.ready
	WDMOE_PICTURES=docs/images $(BIN)/pytest -q -m browser tests/explorer

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
