# Every target installs what it needs; `make` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help env quickstart test test-slow lint types format docs clean

# Any Python from 3.11 on: make PYTHON=/path/to/python
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# As the commands set it for themselves (yolox_jax/cli/huge_pages.py), because the tests train too.
export GLIBC_TUNABLES := glibc.malloc.hugetlb=1
BIN := .venv/bin
# Stamps, which make later calls instant; a change of the dependencies installs again.
INSTALLED_CORE := .venv/installed-core
INSTALLED := .venv/installed
INSTALLED_DOCS := .venv/installed-docs

# Creates .venv, installs $(1) into it, and leaves the stamp $@. pip is made to say what it downloads; the status of its
# pipeline is that of sed, so the stamp tells whether it succeeded.
define install
test -n "$(PYTHON)" || { echo "error: no Python found; give one: make PYTHON=/path/to/python3.11" >&2; exit 1; }; \
"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
  { echo "error: $(PYTHON) is older than Python 3.11; give another: make PYTHON=/path/to/python3.11" >&2; exit 1; }; \
rm -f $@; \
"$(PYTHON)" -m venv .venv || exit; \
if command -v uv > /dev/null; then \
  uv pip install --python $(BIN)/python -e '$(1)' && touch $@; \
else \
  { PYTHONUNBUFFERED=1 $(BIN)/python -m pip install --disable-pip-version-check -e '$(1)' && touch $@; } | \
    sed -n -e '/\.metadata/d' -e 's/^ *Downloading \(.*\)/  downloading \1/p' -e 's/^Installing collected.*/  unpacking/p'; \
fi; \
test -e $@
endef

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{printf "make %-12s %s\n", $$1, $$2}'

env: $(INSTALLED)  ## create .venv and install the package with development dependencies

$(INSTALLED_CORE): pyproject.toml
	@echo "installing yolox-jax into .venv (a minute or two the first time)"
	@$(call install,.)

$(INSTALLED): pyproject.toml
	@echo "installing yolox-jax with its development dependencies into .venv (a few minutes the first time)"
	@$(call install,.[dev])
	@# pnnx requires PyTorch, but does not use it here.
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps pnnx || { rm $@; exit 1; }
	@touch $(INSTALLED_CORE)

$(INSTALLED_DOCS): pyproject.toml
	@echo "installing yolox-jax with what builds the documentation into .venv (a minute or two the first time)"
	@$(call install,.[docs])
	@touch $(INSTALLED_CORE)

quickstart: $(INSTALLED_CORE)  ## train on generated shapes for a few minutes; replaces runs/quickstart
	@echo "training on generated shapes with configs/quickstart.py; replaces runs/quickstart"
	@rm -rf runs/quickstart
	@$(BIN)/python train.py --config configs/quickstart.py --workdir runs/quickstart

test: env lint types  ## lint, type checks and the tests, a few minutes
	@echo "running the tests"
	@$(BIN)/python -m pytest -n 2 --dist loadfile --durations=15

test-slow: env  ## the long tests, about half an hour
	@echo "running the slow tests"
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m slow --durations=15

lint: env  ## ruff: rules and format; hadolint: the Dockerfile
	@echo "checking rules and format"
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .
	@$(BIN)/hadolint Dockerfile

types: env  ## mypy
	@echo "checking types"
	@$(BIN)/mypy --no-error-summary

format: env  ## format all files and apply ruff fixes
	@echo "formatting"
	@$(BIN)/ruff check -q --fix .
	@$(BIN)/ruff format -q .

docs: $(INSTALLED_DOCS)  ## build the documentation site into build/site
	@echo "building the documentation site"
	@$(BIN)/python docs/site/build_site.py

clean:  ## remove .venv, builds and caches, but keep runs
	@echo "removing .venv, builds and caches"
	@rm -rf .venv build dist .pytest_cache .ruff_cache .mypy_cache
