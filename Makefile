# Two commands are enough: `make quickstart` and `make test`.  Both set up .venv by themselves.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DEVELOP := .venv/.develop

.PHONY: quickstart test lint mutants bench docs format clean

quickstart: $(READY)
	$(BIN)/trilemma quickstart --out runs/quickstart $(QUICKSTART)

# A process for each core and one more, since some tests wait for others, with one thread each: threads that wait for each
# other's cores are far slower.
test: $(DEVELOP)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $$($(BIN)/python -c 'import os; print(os.cpu_count() + 1)') --dist worksteal

lint: $(DEVELOP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Errors planted one at a time in a copy of the package, each of which a named test must see; MUTANTS=--fast runs the
# fastest test of each.
mutants: $(DEVELOP)
	$(BIN)/python tests/mutants/run.py $(MUTANTS)

# Nine minutes: what a private update costs, here and in Opacus, side by side; evaluation; an audit; a GPU, by counting.
bench: $(DEVELOP)
	$(BIN)/python benchmarks/private_update.py --rounds 5 --shapes 1x32,4x16
	$(BIN)/python benchmarks/private_update.py --rounds 3 --shapes 16x8 --sides trilemma,opacus-hooks
	$(BIN)/python benchmarks/evaluation.py --models convnet
	$(BIN)/python benchmarks/whole_audit.py --rounds 3
	$(BIN)/python benchmarks/gpu_operations.py

# The documentation as a site that opens from disk: site/index.html.  A broken link or reference fails.
docs: $(READY)
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

format: $(DEVELOP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Modules are compiled when they are first imported: those that never are would take 190 MB.
$(READY): pyproject.toml constraints.txt
	@echo "Setting up .venv (once; a minute or two) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

# Tests and checks need more than the quickstart: linters, browsers' drivers, Ray, and the libraries that are compared with.
$(DEVELOP): $(READY)
	@echo "Adding what tests need (once) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv runs site .pytest_cache .mypy_cache .ruff_cache .hypothesis
