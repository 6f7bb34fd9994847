# make demo    synthesise a PET volume from a real T1 and write a report; for a scan of your own:
#              make demo T1=path [ARGS="--skull-stripped"]
# make test    run the tests against the installed wheel, all but the slow and the repeated ones
# make test-slow     those
# make check   formatter, linter, types and tests
# make bench   time one network evaluation of each preset
# make gpu-rehearsal   run tools/gpu_check.sh on the CPU at tiny sizes
# make clean   remove .venv and build
#
# Each sets up .venv with the pinned versions and installs the built wheel when sources changed.

# The pinned versions were tested with Python 3.11.
PYTHON ?= $(shell for p in python3.11 python3; do $$p -c '' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
WHEELS := build/wheel
DEMO := $(CURDIR)/build/demo
T1 ?=
ARGS ?=

SOURCES := pyproject.toml CMakeLists.txt README.md LICENSE \
  $(shell find csrc python bench export -type f ! -path '*/__pycache__/*')

# pytest runs from a folder of its own, so that only the installed package can be imported.
# Two processes share two cores, so each computes with one thread.
# Compiled tests are kept: pytest takes ten seconds to rewrite them all in each process.
PYTEST = mkdir -p build/run && cd build/run && MRI2PET_TEST_INSTALLED=1 OMP_NUM_THREADS=1 \
  PYTHONDONTWRITEBYTECODE= \
  $(BIN)/python -m pytest -c $(CURDIR)/pyproject.toml --rootdir=$(CURDIR) -p no:cacheprovider

.PHONY: demo test test-slow test-packaging lint check bench gpu-rehearsal clean

$(VENV)/created:
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "mri2pet: $(PYTHON) cannot make a virtual environment; install its venv module (Debian, Ubuntu: apt install python3-venv) or name another Python with PYTHON=…" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(WHEELS)/built: $(VENV)/created $(SOURCES)
	@rm -rf $(WHEELS) && mkdir -p $(WHEELS)
	$(BIN)/pip wheel -q --no-deps -w $(WHEELS) .
	@touch $@

# pip keeps an installed wheel of the same version, so the old one goes first.
install = $(BIN)/pip uninstall -q -y mri2pet 2>/dev/null; \
  $(BIN)/pip install -q -c constraints.txt "$$(ls $(CURDIR)/$(WHEELS)/*.whl)$(1)" && touch $@

$(VENV)/installed: $(WHEELS)/built constraints.txt
	$(call install,)

$(VENV)/installed-test: $(WHEELS)/built constraints.txt
	$(call install,[test])

$(VENV)/installed-dev: $(WHEELS)/built constraints.txt
	$(call install,[dev])

demo: $(VENV)/installed
	@PATH="$(BIN):$$PATH" sh tools/demo.sh $(DEMO) "$(T1)" $(ARGS)

test: $(VENV)/installed-test
	$(PYTEST) -m "not packaging and not slow" -n 2 --dist loadfile $(PYTEST_ARGS) $(CURDIR)/tests

test-slow: $(VENV)/installed-test
	$(PYTEST) -m "slow and not packaging" -n 2 --dist loadfile $(CURDIR)/tests

test-packaging: $(VENV)/installed-test
	$(PYTEST) -m packaging $(CURDIR)/tests/packaging

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test

bench: $(VENV)/installed
	cd build && $(BIN)/mri2pet-bench network

# The tree runs from its links, so that it is what a GPU machine without an installation runs.
gpu-rehearsal: $(VENV)/installed-test
	mkdir -p build && cp $(VENV)/lib/python3*/site-packages/mri2pet/_C.*.so python/mri2pet/
	MRI2PET_GPU_CHECK_DEVICE=cpu PYTHON=$(BIN)/python bash tools/gpu_check.sh build/gpu_check --seconds 1200

clean:
	rm -rf $(VENV) build REVISION
