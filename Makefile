# Needs Python 3.10 or later and make, nothing else. Each target makes its own virtual environment under .venv/ from the
# exact versions in locks/. Another Python than python3: make test PYTHON=python3.12

PYTHON ?= python3
SUPPORTED := 3.10 3.11 3.12 3.13 3.14 3.15
NEWEST := $(lastword $(SUPPORTED))
ARGS ?=
JOBS ?= auto

unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV MAKEFLAGS
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# nox reads UV too.
export UV := $(CURDIR)/.venv/uv/bin/uv
export UV_PYTHON_DOWNLOADS := never
# Compile on install, as pip does. Otherwise SyntaxWarnings of other packages would appear in tests and fail them.
export UV_COMPILE_BYTECODE := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test record live chart request-types check rooms pages docs ogx gateways matrix versions clients lock wheel release installs clean

ifneq ($(filter-out help clean,$(or $(MAKECMDGOALS),help)),)
  PY := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
  LOCKED_PY := $(filter $(PY),$(SUPPORTED))
  ifeq ($(LOCKED_PY),)
    ifeq ($(lastword $(shell printf '%s\n' $(NEWEST) $(PY) | sort -V)),$(NEWEST))
      $(error $(PYTHON) is $(if $(PY),Python $(PY),not a Python that runs here); one of $(SUPPORTED) is needed, for example: make $(MAKECMDGOALS) PYTHON=python3.12)
    endif
    $(info --- Python $(PY) is newer than every tested one ($(SUPPORTED)): trying it with the packages of $(NEWEST))
    LOCKED_PY := $(NEWEST)
  endif
endif

LOCK := locks/py$(LOCKED_PY).txt
# $(call venv,NAME): an empty environment in .venv/NAME (the whole folder anew, so that nothing old is left in it)
venv = rm -rf .venv/$(1) && "$(UV)" venv -q -p .venv/uv/bin/python .venv/$(1)
# $(call install,NAME): what follows, into .venv/NAME
install = "$(UV)" pip install -q -p .venv/$(1)
# Include folders, so that deleting a file rebuilds the wheel.
SOURCES := $(shell find assistants_compat -name __pycache__ -prune -o -print) pyproject.toml hatch_build.py $(wildcard README.md LICENSE)
# The name carries the Python: another PYTHON makes the environment anew.
READY := ready-$(PY)

help:
	@echo 'make demo     run examples/data_analyst.py over a recording      ARGS=--live for the real service'
	@echo 'make test     run the tests against the built wheel              ARGS="-k name", JOBS=0 for one process, COV=1'
	@echo 'make record   record cassettes/ again                             RECORD_LIVE=1 with OPENAI_API_KEY for the real service'
	@echo 'make live     the contract against the real service, a few cents   OPENAI_API_KEY or AZURE_OPENAI_*; LIVE_MODEL=...'
	@echo 'make chart    redraw the demo'\''s chart; run make record afterwards'
	@echo 'make request-types   describe the request types of the newest SDK for the stand-in   SDK=3.57.0'
	@echo 'make check    lint, format, imports, types'
	@echo 'make rooms    print the figures of the layout that docs/architecture.md describes'
	@echo 'make pages    write the parts of the documentation that come from the code'
	@echo 'make docs     build the documentation into site/; a broken link fails'
	@echo 'make ogx      the same runs on OGX, an independent Responses server (needs ../shared and Python 3.12)'
	@echo 'make gateways the same runs through LiteLLM and nginx; two minutes, the first time three'
	@echo 'make matrix   the contract tests on pinned pairs of Python and openai SDK   FULL=1 for all of every row, SHARE=2/4'
	@echo 'make versions write the tables of docs/versions.md from the last `make matrix FULL=1`'
	@echo 'make clients  LangChain, LlamaIndex and AutoGen run their own agents over wrapped clients'
	@echo 'make release  build sdist and wheel in dist/, check both, and run the demo in a bare environment'
	@echo 'make installs install the wheel with each extra by uv, pip and poetry; minutes    ARGS="--tool uv --extra cli"'
	@echo 'make lock     update locks/                                      UPGRADE=1 for the newest versions'
	@echo 'make clean    remove all generated files'

# --- uv, which makes every other environment in seconds where pip takes a minute

UV_VERSION := 0.13.9
UV_READY := .venv/uv/$(READY)-$(UV_VERSION)

# Debian's Python makes no environment with pip unless python3-venv is installed: then a uv or pip of this machine helps.
$(UV_READY):
	@rm -rf .venv/uv && mkdir -p .venv
	@if $(PYTHON) -m venv .venv/uv >/dev/null 2>&1; \
	  then .venv/uv/bin/python -m pip install -qq uv==$(UV_VERSION); \
	  else $(PYTHON) -m venv --clear --without-pip .venv/uv && \
	    { uv pip install -q -p .venv/uv/bin/python uv==$(UV_VERSION) || \
	      pip3 --python .venv/uv/bin/python install -qq uv==$(UV_VERSION); } >.venv/uv/log 2>&1 || \
	    { cat .venv/uv/log; echo '$(PYTHON) cannot install packages; install its package python$(PY)-venv, or uv'; exit 1; }; \
	fi
	@touch $@

# --- the wheel

.venv/build/$(READY): $(LOCK) | $(UV_READY)
	@echo '--- environment to build in: .venv/build (Python $(PY))'
	@$(call venv,build)
	@$(call install,build) -c $(LOCK) build hatchling
	@touch $@

dist/.built: .venv/build/$(READY) $(SOURCES)
	@echo '--- building the wheel'
	@rm -rf dist && mkdir dist
	@.venv/build/bin/python -m build --wheel --no-isolation --outdir dist . >dist/build.log 2>&1 || { cat dist/build.log; exit 1; }
	@touch $@

wheel: dist/.built
	@ls dist/*.whl

# --- demo: the wheel, what it needs, and the player of recordings

.venv/demo/$(READY): $(LOCK) dist/.built | $(UV_READY)
	@echo '--- environment for the demo: .venv/demo (Python $(PY))'
	@$(call venv,demo)
	@$(call install,demo) -c $(LOCK) dist/*.whl vcrpy pytest-recording
	@touch $@

demo: .venv/demo/$(READY)
	@.venv/demo/bin/python examples/data_analyst.py $(ARGS)

# --- test: everything in the lock, then the wheel (never the checkout)

.venv/test/$(READY): $(LOCK) | $(UV_READY)
	@echo '--- environment for the tests: .venv/test (Python $(PY))'
	@$(call venv,test)
	@$(call install,test) --no-deps -r $(LOCK)
	@touch $@

.venv/test/wheel-$(PY): .venv/test/$(READY) dist/.built
	@$(call install,test) --no-deps --reinstall dist/*.whl
	@"$(UV)" pip check -q -p .venv/test
	@touch $@

test: .venv/test/wheel-$(PY)
	@.venv/test/bin/pytest -n $(JOBS) --dist worksteal $(if $(COV),--cov --cov-report=term) $(ARGS)

record: .venv/test/wheel-$(PY)
	@.venv/test/bin/pytest cassettes --record-mode=rewrite $(ARGS)

# `make test` runs the same tests over the stand-in. Without a key they are skipped, and pytest says why.
live: .venv/test/wheel-$(PY)
	@RECORD_LIVE=1 .venv/test/bin/pytest tests/live $(ARGS)

# The code of the recorded run makes the demo's files: a real chart needs a plotting library, which nothing else here does.
chart: $(UV_READY)
	@cd assistants_compat/cli/demo_files && MPLBACKEND=agg SOURCE_DATE_EPOCH=0 "$(UV)" run -q --no-project \
	  -p $(CURDIR)/.venv/uv/bin/python --with matplotlib==3.10.8 python $(CURDIR)/cassettes/sales_by_region.py

# What the stand-in checks requests against: the types of the newest SDK, or of SDK=3.57.0.
request-types: $(UV_READY)
	@"$(UV)" run -q --no-project -p $(CURDIR)/.venv/uv/bin/python --with 'openai$(if $(SDK),==$(SDK))' \
	  --refresh-package openai python tests/testing/sdk_request_types.py

ogx: .venv/test/wheel-$(PY)
	@.venv/test/bin/pytest -m ogx tests/ogx $(ARGS)

# LiteLLM in an environment of its own, with a Python that it supports, and Debian's nginx, unpacked where the machine has
# none. What cannot be installed is skipped: the log's last line is the reason.
GATEWAYS := .venv/litellm.log .venv/nginx.log
.venv/litellm.log: locks/gateways-litellm.txt | $(UV_READY)
	@echo '--- LiteLLM: .venv/litellm'
	@rm -rf .venv/litellm
	@{ "$(UV)" venv -q -p '>=3.11,<3.15' .venv/litellm && \
	  $(call install,litellm) --no-deps -r locks/gateways-litellm.txt; } >$@ 2>&1 || rm -rf .venv/litellm
.venv/nginx.log:
	@mkdir -p $(@D) && rm -rf .venv/nginx
	@PATH="$$PATH:/usr/sbin"; if command -v nginx >$@; then exit; fi; \
	  echo '--- nginx from Debian: .venv/nginx'; mkdir .venv/nginx && cd .venv/nginx && \
	  { apt-get download -qq nginx && dpkg -x nginx_*.deb . && usr/sbin/nginx -v; } >../nginx.log 2>&1 || rm -rf usr

gateways: .venv/test/wheel-$(PY) $(GATEWAYS)
	@.venv/test/bin/pytest -m gateways tests/gateways $(ARGS)

# Pythons of the matrix that this machine may lack: from Debian's packages where that is possible. Without one, its rows
# are skipped, and the noxfile says why.
NEWER := 3.14 3.15
.venv/python%/.tried:
	@mkdir -p $(@D)
	@if ! python$* -c '' 2>/dev/null && [ -f ../shared/tools/newer_python.sh ]; then \
	  echo '--- Python $* from Debian packages: $(@D)'; \
	  bash ../shared/tools/newer_python.sh $(@D) $* >$(@D)/log 2>&1 || rm -rf $(@D)/usr; \
	fi
	@touch $@

matrix: .venv/test/wheel-$(PY) $(NEWER:%=.venv/python%/.tried)
	@.venv/test/bin/nox --noxfile noxfile.py $(ARGS)

# What the rows of `make matrix FULL=1` left in .venv/matrix, as the tables of docs/versions.md.
versions: .venv/test/wheel-$(PY)
	@PYTHONPATH=tests:tests/docs .venv/test/bin/python tests/docs/versions.py

clients: .venv/test/wheel-$(PY)
	@.venv/test/bin/nox --noxfile noxfile.py --session clients $(ARGS)

# --- check: cheap first

.venv/check/$(READY): locks/py$(LOCKED_PY)-check.txt | $(UV_READY)
	@echo '--- environment for the checks: .venv/check (Python $(PY))'
	@$(call venv,check)
	@$(call install,check) --no-deps -r locks/py$(LOCKED_PY)-check.txt
	@touch $@

check: .venv/check/$(READY)
	.venv/check/bin/ruff check .
	.venv/check/bin/ruff format --check .
	PYTHONPATH=. .venv/check/bin/lint-imports --no-logo
	.venv/check/bin/mypy
	.venv/check/bin/mypy --allow-untyped-defs --allow-incomplete-defs --allow-untyped-calls --allow-untyped-decorators tests
	.venv/check/bin/pyright --warnings --pythonpath .venv/check/bin/python

rooms:
	@$(PYTHON) tests/docs/rooms.py

# The parts of the documentation that come from the code; tests compare them with what is there.
pages: .venv/test/wheel-$(PY)
	@PYTHONPATH=tests:tests/docs .venv/test/bin/python tests/docs/tables.py

# --- docs: one lock for every Python

.venv/docs/$(READY): locks/docs.txt | $(UV_READY)
	@echo '--- environment for the documentation: .venv/docs (Python $(PY))'
	@$(call venv,docs)
	@$(call install,docs) --no-deps -r locks/docs.txt
	@touch $@

docs: .venv/docs/$(READY)
	@.venv/docs/bin/zensical build --strict --clean
	@! grep -rnE '(src|<link[^>]*href)="(https?:)?//' site --include="*.html" || { echo "docs: a page loads a resource from another host"; exit 1; }

# --- release and installs: what users get from the index tonight, so only the tools are pinned. CI runs neither.

.venv/release/$(READY): locks/release.txt | $(UV_READY)
	@echo '--- environment for a release: .venv/release (Python $(PY))'
	@$(call venv,release)
	@$(call install,release) --no-deps -r locks/release.txt
	@touch $@

release: .venv/release/$(READY)
	@.venv/release/bin/python release/make_release.py
	@touch dist/.built

POETRY_VERSION := 2.5.1
INSTALLS_READY := .venv/installs/$(READY)-$(POETRY_VERSION)

$(INSTALLS_READY): | $(UV_READY)
	@echo '--- environment for the installations: .venv/installs (Python $(PY))'
	@$(call venv,installs)
	@$(call install,installs) pip poetry==$(POETRY_VERSION)
	@touch $@

installs: $(INSTALLS_READY) dist/.built
	@.venv/installs/bin/python release/installs.py dist/*.whl $(ARGS)

# --- lock: a file for each Python, the same with the tools of `check`, one for each pair of `matrix`, and one for each
# framework of `clients`, and one each for LiteLLM, the documentation and a release

EXTRAS := --extra postgres --extra objects --extra cli --extra azure --extra pytest --extra yaml
COMPILE_ALONE = "$(UV)" pip compile -q --universal --fork-strategy fewest --no-annotate \
  --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)
COMPILE = $(COMPILE_ALONE) $(EXTRAS)

lock: $(UV_READY)
	for v in $(SUPPORTED); do \
	  $(COMPILE) --python-version $$v --group test --group mocks --group build -o locks/py$$v.txt pyproject.toml && \
	  $(COMPILE) --python-version $$v --group dev -c locks/py$$v.txt -o locks/py$$v-check.txt pyproject.toml || exit 1; \
	done
	for pin in locks/*-openai-*.in; do \
	  v=$${pin#locks/py}; v=$${v%%-*}; \
	  $(COMPILE) --python-version $$v --group test -o $${pin%.in}.txt pyproject.toml $$pin || exit 1; \
	done
	for pin in locks/clients-*.in; do \
	  $(COMPILE) --python-version 3.11 -o $${pin%.in}.txt pyproject.toml $$pin || exit 1; \
	done
	$(COMPILE_ALONE) --python-version 3.11 -o locks/gateways-litellm.txt locks/gateways-litellm.in
	$(COMPILE_ALONE) --python-version 3.10 --group docs -o locks/docs.txt
	$(COMPILE_ALONE) --python-version 3.10 --group release -o locks/release.txt
	@! grep -nE '://|^-|^/' locks/*.txt || { echo 'locks: a lock file contains a local path or URL'; exit 1; }

clean:
	rm -rf .venv dist downloads site .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
