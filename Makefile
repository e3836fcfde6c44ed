# make demo   set up .venv, then train and report on images that the project makes itself
# make test   set up .venv, then run the tests
# make lint   set up .venv, then run the linter, the format check and the type checker
# make floors  set up .venv, then run lewel with the lowest versions that pyproject.toml allows
# make fuzz    set up .venv, then give every reader damaged files, the same ones each time (FUZZ_INPUTS=10000: more of them)
# make mutations  set up .venv, then apply 40 one-line faults to a copy of lewel, which its tests must notice
#
# PYTHON=python3.12 chooses the interpreter that .venv is made with; JOBS=4 the test processes.

PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(if $(shell \
	$(p) -c 'import sys; print(sys.version_info >= (3, 11) or "")' 2>/dev/null),$(p))))
JOBS ?= 2
FUZZ_INPUTS ?= 500
BIN := .venv/bin
READY := .venv/.lewel-ready

.PHONY: demo test lint floors fuzz mutations
.DEFAULT_GOAL := test

demo: $(READY)
	$(BIN)/lewel demo

# One thread a process: the small tensors of the tests are slower with more, and JOBS processes share the cores.
# Bytecode is kept, or each of the processes that tests start compiles the package anew.
test: export OMP_NUM_THREADS = 1
test: export PYTHONDONTWRITEBYTECODE =
test: $(READY)
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

floors: $(READY)
	$(BIN)/python tests/floors.py

fuzz: $(READY)
	$(BIN)/python tests/fuzz/run.py --inputs $(FUZZ_INPUTS)

mutations: $(READY)
	$(BIN)/python tests/mutations/run.py

# The stamp is written last, so that an installation that was cut short is taken up again. A .venv that works is kept.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "lewel needs Python 3.11 or newer, and none was found: install it, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: sudo apt-get install python3-venv; then run make again."; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@
