# All targets work on a new machine with Python 3.11 and make. `make` without a target lists them.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
CONFIG ?= configs/lstm_T20.yaml
BENCH ?= fit_overhead
RUN := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help install fit test versions stress lint bench tensorboard report site clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14
	@echo "CONFIG=configs/... selects another experiment. ARGS='--key value' adds arguments (fit, test, versions, bench, tensorboard)."

install: .venv/installed ## create .venv with the packages that training needs

fit: install ## train with $(CONFIG), then test
	$(RUN) cli.py fit --config $(CONFIG) $(ARGS)

test: .venv/installed-test .venv/installed-browser ## run all tests on all cores; ARGS='-m "not slow"' runs the fast ones, ARGS=--cov measures coverage
	$(RUN) -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder --durations 20 --durations-min 5 $(ARGS)

versions: ## run the fast tests and a short fit of each kind of model with the lowest and the newest versions of all packages
	tests/versions.sh $(ARGS)

stress: .venv/installed-test ## run the long versions of chaos (signals) and damage (files)
	$(RUN) -m tests.stress.chaos
	$(RUN) -m tests.stress.damage

lint: .venv/installed-dev ## check style, types, and the pinned packages for known vulnerabilities
	.venv/bin/pre-commit run --all-files --show-diff-on-failure
	@report=$$(.venv/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off 2>&1); \
	case "$$report" in \
		*"Found "*"known vulnerabilit"*) echo "$$report"; exit 1;; \
		*"could not be audited"*) echo "pip-audit: some packages could not be looked up without network access.";; \
		*"No known vulnerabilities"*) echo "pip-audit: no known vulnerabilities.";; \
		*) echo "pip-audit: no package could be looked up without network access.";; \
	esac

bench: install ## measure the overhead of the training loop; BENCH=networks (or memory, text_training, ...) runs another benchmark
	$(RUN) -m benchmarks.$(BENCH) $(ARGS)

tensorboard: install ## show the runs in a browser
	.venv/bin/tensorboard --logdir runs $(ARGS)

report: .venv/installed-docs ## write all pages with results and their figures from docs/results, and docs/report.pdf
	$(RUN) cli.py report
	$(RUN) -m docs.pdf

site: .venv/installed-docs ## build the documentation site in site/ and check its links
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

clean: ## remove environments, build folders and caches, but not runs/
	rm -rf .venv .venv-lowest-* .venv-newest-* build site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11. Set PYTHON=/path/to/python3.11."; exit 1; }
	"$(PYTHON)" -m venv .venv

.venv/installed: .venv/bin/python setup.cfg constraints.txt
	$(RUN) -m pip install --quiet --constraint constraints.txt .
	touch $@

.venv/installed-%: .venv/installed
	$(RUN) -m pip install --quiet --constraint constraints.txt ".[$*]"
	touch $@
