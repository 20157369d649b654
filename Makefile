# quickstart   a model from its Python file to answers, in this checkout, with nothing but Python 3.10 to 3.13
# test-fast    the unit tests: no TensorFlow, no server
# test         all tests that need neither Docker nor Node.js, on all CPUs, but those of test-docs
# test-docs    the tests that run the examples of README.md and docs/
# coverage     both, with the coverage of tfsctl/ in all processes; fails below a floor
# docs         the documentation site, in build/site; fails on a dead link or anchor
# man          write the man pages and shell completions in share/, which the wheel installs
# check        what CI runs first: format, lint, types, `make test`
# soak         full load, new versions and attacks, for some seconds: no request may fail, and memory may not grow
# test-lowest  the tests with the lowest version of every dependency that pyproject.toml allows
# test-docker  the tests that need a Docker Engine, npm and its registry, or Chromium; fails if one was skipped
# test-wheel   build the wheel, install it outside the checkout, and export, serve and query with it
# test-tensorflow-next  the tests with the newest TensorFlow, release candidates included
# bench-quick  what a request costs, as a multiple of a constant answer: docs/benchmarks.json, in two minutes
# constraints  write constraints.txt: the versions that the tests of this environment ran with
# check-release  fail if CHANGELOG.md has no dated section for the version of this commit's tag
# build        the wheel and the source distribution, in dist/
# Another Python: make PYTHON=python3.12 ...  Fewer processes: make WORKERS=1 ...  Some tests: make TESTS=tests/cli ...

PYTHON ?= python3
VENV := .venv
LOWEST := .venv-lowest
NEXT := .venv-next
WORKERS ?= auto
TESTS ?=
PARALLEL := -n $(WORKERS) --dist worksteal
WITH_DOCS := -m "not docker and not node and not browser"
PIP := -m pip --disable-pip-version-check

.PHONY: quickstart test-fast test test-docs coverage check lint soak docs test-lowest test-docker test-wheel test-tensorflow-next
.PHONY: bench-quick man build check-release constraints clean

quickstart: $(VENV)/.installed
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" sh scripts/quickstart.sh

test-fast: $(VENV)/.ready
	$(VENV)/bin/python -m pytest $(PARALLEL) -m "not (server or tensorflow or docs or docker or node or browser)" $(TESTS)

test: $(VENV)/.ready
	$(VENV)/bin/python -m pytest $(PARALLEL) $(TESTS)

test-docs: $(VENV)/.ready
	$(VENV)/bin/python -m pytest $(PARALLEL) -m "docs and not docker" $(TESTS)

coverage: $(VENV)/.ready
	rm -rf .coverage .coverage.*
	$(VENV)/bin/python -m coverage run -m pytest $(PARALLEL) $(WITH_DOCS) $(TESTS)
	$(VENV)/bin/python -m coverage combine --quiet
	$(VENV)/bin/python -m coverage report

check: lint test

lint: $(VENV)/.ready
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/typos
	$(VENV)/bin/python scripts/write_man_pages.py share --check
	$(VENV)/bin/mypy

soak: $(VENV)/.ready
	$(VENV)/bin/python benchmarks/soak.py --minutes 2 --minute-seconds 5 --swap-every 2 --flat 0.1

# NO_MKDOCS_2_WARNING: Material announces another generator on every build.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict
	$(VENV)/bin/python scripts/check_site.py build/site

test-lowest: $(LOWEST)/.ready
	$(LOWEST)/bin/python -m pytest $(PARALLEL) $(WITH_DOCS) $(TESTS)

# One at a time: containers have fixed names. These tests fail, they do not skip, without Docker, npm or Chromium. If one was
# skipped for another reason, the run proves nothing.
test-docker: $(VENV)/.ready
	@{ $(VENV)/bin/python -m pytest -m "docker or node or browser" $(TESTS); echo $$? >$(VENV)/docker.status; } | tee $(VENV)/docker.log
	@grep -qE '^=+ [0-9]+ passed(, [0-9]+ deselected)? in ' $(VENV)/docker.log || { echo "error: not every test ran" >&2; exit 1; }
	@exit "$$(cat $(VENV)/docker.status)"

man: $(VENV)/.ready
	$(VENV)/bin/python scripts/write_man_pages.py share

build: $(VENV)/.ready
	rm -rf dist
	$(VENV)/bin/python -m build --outdir dist .

test-wheel: build
	sh scripts/test_wheel.sh $(VENV) dist

test-tensorflow-next: $(NEXT)/.ready
	$(NEXT)/bin/python -m pytest $(PARALLEL) $(WITH_DOCS) $(TESTS)

bench-quick: $(VENV)/.ready
	$(VENV)/bin/python benchmarks/quick.py

check-release:
	sh scripts/check_release.sh

constraints: $(VENV)/.ready
	$(VENV)/bin/python scripts/write_constraints.py constraints.txt

clean:
	rm -rf $(VENV) $(LOWEST) $(NEXT) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*

$(VENV)/.installed: pyproject.toml scripts/new_venv.sh
	@sh scripts/new_venv.sh $(PYTHON) $(VENV)
	@echo "installing tfsctl and what it needs into $(VENV); TensorFlow is large, so this takes a minute or two ..."
	$(VENV)/bin/python $(PIP) install --quiet --editable .
	@touch $@

$(VENV)/.ready: $(VENV)/.installed
	$(VENV)/bin/python $(PIP) install --quiet --group dev
	@touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(VENV)/bin/python $(PIP) install --quiet --group docs
	@touch $@

# The lower bounds as constraints: `name>=1.2` becomes `name==1.2`.
$(LOWEST)/.ready: pyproject.toml scripts/new_venv.sh
	@sh scripts/new_venv.sh $(PYTHON) $(LOWEST)
	sed -n 's/^  "\([A-Za-z0-9_.-]*\)>=\([0-9.]*\).*/\1==\2/p' pyproject.toml > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python $(PIP) install --quiet --editable . --group dev --constraint $(LOWEST)/constraints.txt
	@touch $@

# tfsctl's upper bounds on TensorFlow do not hold here, so pip must not resolve tfsctl's own requirements.
$(NEXT)/.ready: pyproject.toml scripts/new_venv.sh
	@sh scripts/new_venv.sh $(PYTHON) $(NEXT)
	sed -n '/^dependencies/,/^]/s/^  "\([A-Za-z0-9_.-]*>=[0-9.]*\).*/\1/p' pyproject.toml > $(NEXT)/requirements.txt
	$(NEXT)/bin/python $(PIP) install --quiet --pre --upgrade tensorflow
	$(NEXT)/bin/python $(PIP) install --quiet --requirement $(NEXT)/requirements.txt --group dev
	$(NEXT)/bin/python $(PIP) install --quiet --no-deps --editable .
	@touch $@
