# quickstart   a model from its Python file to answers, in this checkout, with nothing but Python 3.10 to 3.13
# test-fast    the unit tests: no TensorFlow, no server
# test         all tests that need neither Docker nor Node.js, on all CPUs
# coverage     the same, with the coverage of tfsctl/ in all processes; fails below a floor
# check        what CI runs first: format, lint, types, tests
# test-lowest  the tests with the lowest version of every dependency that pyproject.toml allows
# Another Python: make PYTHON=python3.12 ...  Fewer processes: make WORKERS=1 ...  Some tests: make TESTS=tests/cli ...

PYTHON ?= python3
VENV := .venv
LOWEST := .venv-lowest
WORKERS ?= auto
TESTS ?=
PARALLEL := -n $(WORKERS) --dist worksteal
PIP := -m pip --disable-pip-version-check

.PHONY: quickstart test-fast test coverage check lint test-lowest clean

quickstart: $(VENV)/.installed
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" sh scripts/quickstart.sh

test-fast: $(VENV)/.ready
	$(VENV)/bin/python -m pytest $(PARALLEL) -m "not (server or tensorflow or docker or node)" $(TESTS)

test: $(VENV)/.ready
	$(VENV)/bin/python -m pytest $(PARALLEL) $(TESTS)

coverage: $(VENV)/.ready
	rm -rf .coverage .coverage.*
	$(VENV)/bin/python -m coverage run -m pytest $(PARALLEL) $(TESTS)
	$(VENV)/bin/python -m coverage combine --quiet
	$(VENV)/bin/python -m coverage report

check: lint test

lint: $(VENV)/.ready
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

test-lowest: $(LOWEST)/.ready
	$(LOWEST)/bin/python -m pytest $(PARALLEL) $(TESTS)

clean:
	rm -rf $(VENV) $(LOWEST) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*

$(VENV)/.installed: pyproject.toml scripts/new_venv.sh
	@sh scripts/new_venv.sh $(PYTHON) $(VENV)
	@echo "installing tfsctl and what it needs into $(VENV); TensorFlow is large, so this takes a minute or two ..."
	$(VENV)/bin/python $(PIP) install --quiet --editable .
	@touch $@

$(VENV)/.ready: $(VENV)/.installed
	$(VENV)/bin/python $(PIP) install --quiet --group dev
	@touch $@

# The lower bounds as constraints: `name>=1.2` becomes `name==1.2`.
$(LOWEST)/.ready: pyproject.toml scripts/new_venv.sh
	@sh scripts/new_venv.sh $(PYTHON) $(LOWEST)
	sed -n 's/^  "\([A-Za-z0-9_.-]*\)>=\([0-9.]*\).*/\1==\2/p' pyproject.toml > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python $(PIP) install --quiet --editable . --group dev --constraint $(LOWEST)/constraints.txt
	@touch $@
