# Everything from a fresh machine with Python 3.11 and make; `make` alone lists the targets.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
CONFIG ?= configs/lstm_T20.yaml
BENCH ?= fit_overhead
BROWSER ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
RUN := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help install fit test stress lint bench tensorboard report site clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14
	@echo "Set CONFIG=configs/... for another experiment, ARGS='--key value' for more arguments (fit, test, bench, tensorboard)."

install: .venv/installed ## make .venv with what training needs

fit: install ## train $(CONFIG), then test it
	$(RUN) cli.py fit --config $(CONFIG) $(ARGS)

test: .venv/installed-test .venv/installed-browser ## run all tests, on all cores; ARGS='-m "not slow"' for the fast ones
	$(RUN) -m pytest --numprocesses auto --dist loadfile $(ARGS)

stress: install ## the long versions of chaos and damage: kill runs, damage files
	$(RUN) -m tests.stress.chaos
	$(RUN) -m tests.stress.damage

lint: .venv/installed-dev ## check style and types, and the pinned packages for known weaknesses
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	@report=$$(.venv/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off 2>&1); \
	case "$$report" in \
		*"Found "*"known vulnerabilit"*) echo "$$report"; exit 1;; \
		*"could not be audited"*) echo "pip-audit: not all packages could be looked up; the network does not allow it.";; \
		*"No known vulnerabilities"*) echo "pip-audit: no known vulnerabilities.";; \
		*) echo "pip-audit: nothing could be looked up; the network does not allow it.";; \
	esac

bench: install ## measure what the training loop costs; BENCH=networks, memory, text_training, text_generation, text_reading: the rest
	$(RUN) -m benchmarks.$(BENCH) $(ARGS)

tensorboard: install ## watch the runs in a browser
	.venv/bin/tensorboard --logdir runs $(ARGS)

report: .venv/installed-docs ## write docs/report.md and its figures from docs/results, and docs/report.pdf (with Chromium)
	@test -n "$(BROWSER)" || { echo "A browser is needed to print the report; set BROWSER=/path/to/chromium."; exit 1; }
	$(RUN) cli.py report
	cd docs && ../.venv/bin/python -c 'import pypandoc; pypandoc.convert_file("report.md", "html5", "gfm", outputfile="report.html", \
		extra_args=["--standalone", "--embed-resources", "--mathml", "--css=report.css", "--metadata=pagetitle:Report"])'
	$(BROWSER) --headless --no-sandbox --disable-gpu --no-pdf-header-footer --print-to-pdf=docs/report.pdf docs/report.html
	rm docs/report.html

site: .venv/installed-docs ## build the documentation as a site, in site/, and check its links
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

clean: ## remove .venv and caches; runs/ stays
	rm -rf .venv build site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is older. Set PYTHON=/path/to/python3.11."; exit 1; }
	"$(PYTHON)" -m venv .venv

.venv/installed: .venv/bin/python setup.cfg constraints.txt
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/installed-%: .venv/installed
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable ".[$*]"
	touch $@
