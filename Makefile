# quickstart   a model from its Python file to answers, in this checkout, with nothing but Python 3.10 to 3.13
# test         the tests, without those that need Docker
# check        what CI runs first: format, lint, types, tests
# test-lowest  the tests with the lowest version of every dependency that pyproject.toml allows
# Another Python: make PYTHON=python3.12 ...

PYTHON ?= python3
VENV := .venv
LOWEST := .venv-lowest
PIP := -m pip --disable-pip-version-check

.PHONY: quickstart test check lint test-lowest clean

quickstart: $(VENV)/.installed
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" sh scripts/quickstart.sh

test: $(VENV)/.ready
	$(VENV)/bin/python -m pytest

check: lint test

lint: $(VENV)/.ready
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

test-lowest: $(LOWEST)/.ready
	$(LOWEST)/bin/python -m pytest

clean:
	rm -rf $(VENV) $(LOWEST) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

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
