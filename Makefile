# `make help` lists the targets. Each does its own set-up, on a bare Debian 12 as well.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
# Without compiled modules, each of the many commands that the tests run takes twice as long.
unexport PYTHONDONTWRITEBYTECODE
PYTEST := $(BIN)/python -m pytest

.PHONY: help venv servers demo test quick lint format bench soak wheel clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: ## The virtual environment .venv with mapadmin and its development tools
	@tools/provision venv

servers: venv ## What the tests run on: MariaDB, MySQL, a Docker engine (Debian's packages, the cache folder)
	@tools/provision all

demo: venv ## Start the sandbox and take a tour of it
	@tools/provision mariadb
	@PATH="$(CURDIR)/$(BIN):$$PATH" tools/demo

test: servers ## Everything, on real MariaDB, real MySQL and a real Docker engine
	@$(PYTEST) -n 2 --dist loadfile --durations=25

quick: venv ## Only the tests that need no server
	@$(PYTEST) --ignore-glob='*live*' tests/core tests/test_cli.py

lint: venv ## ruff, mypy --strict, import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: venv ## Let ruff lay out and mend the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: servers ## Compare with the peers, as ratios; PARTS="aws jobs" for some of it
	@$(BIN)/python -m tests.bench $(PARTS)

soak: servers ## What is too long for `make test`; prints what it counted
	@$(PYTEST) -m soak -s

wheel: venv ## Build the wheel and the source distribution into dist/
	@$(BIN)/python -m build --outdir dist .

clean: ## Remove what was built here; the cache folder stays
	@rm -rf dist build .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
