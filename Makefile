# make book    the environment, then the whole book into _book/index.html
# make serve   the environment, then the built book on 127.0.0.1 at a free port
# make epub    the environment, then _book/semanticbm.epub; make pdf the same as PDF
# make a11y    the environment with a browser driver, then every page of the built book in headless Chromium
# make test    the environment, then all tests but the longer proofs, of which it runs a sample each
# make proofs  the environment, then the longer proofs
# make mutants the environment, then the graders against every small systematic mistake; prints the survivors
# make setup   the environment alone, in .venv/ (the others do this first)
# make bench   the environment, then the benchmarks
# make notebooks   the environment, then the Colab notebooks of all chapters
# make notebooks-proof   runs every notebook from the wheel alone, without a clone; many minutes
# make colab-kit   dist/colab-kit.zip: wheel, notebooks and a how-to, for a course on Colab without a public repository
# make compat   the oldest and the newest packages that pyproject.toml allows, each in an environment of its own
# make clean   remove what was built; the environment stays
#
# PYTHON=...      which Python makes the environment (3.11 or newer; found by itself otherwise)
# BOOK_FLAGS=...  passed on to `semanticbm book`, for example --preview
# TEST_FLAGS=...  passed on to pytest instead of "a test on each core, one thread each"

SHELL := /bin/sh
STAMP := .venv/setup.stamp
TOO_OLD := import sys; sys.exit(sys.version_info < (3, 11))
TEST_FLAGS ?= -n auto --maxprocesses=4 --dist=worksteal
export ASKED_PYTHON := $(PYTHON)

.PHONY: always setup book test proofs bench mutants notebooks notebooks-proof colab-kit compat clean serve epub pdf a11y

book: setup
	.venv/bin/semanticbm book $(BOOK_FLAGS)

serve: setup
	.venv/bin/semanticbm book --serve

epub: setup
	.venv/bin/semanticbm book --epub

pdf: setup
	.venv/bin/semanticbm book --pdf

a11y: setup
	.venv/bin/python -m pip install --quiet --constraint constraints.txt playwright axe-playwright-python
	.venv/bin/python tests/browser.py _book

test: setup
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -m "not long" $(TEST_FLAGS)

proofs: setup
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -m long $(TEST_FLAGS)

bench: setup
	.venv/bin/python tests/benchmarks/run.py

mutants: setup
	OMP_NUM_THREADS=1 .venv/bin/python -W ignore tests/grading/mutants.py

notebooks: setup
	.venv/bin/python -m semanticbm.builder.notebooks

notebooks-proof: setup
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest tests/setups/test_notebooks.py

colab-kit: setup
	.venv/bin/python -m semanticbm.builder.colab_kit

compat: setup
	.venv/bin/python scripts/compat.py

setup: $(STAMP)

# With PYTHON=... the script looks each time whether the environment has that Python.
$(STAMP): pyproject.toml constraints.txt scripts/setup_environment.py $(if $(PYTHON),always)
	@if [ -n "$$ASKED_PYTHON" ]; then \
	  if "$$ASKED_PYTHON" -c '$(TOO_OLD)' >/dev/null 2>&1; then exec "$$ASKED_PYTHON" scripts/setup_environment.py; fi; \
	  said=$$("$$ASKED_PYTHON" --version 2>&1); \
	  echo "setup: PYTHON=$$ASKED_PYTHON is not a Python 3.11 or newer ($$said). Name another one, or leave PYTHON out." >&2; \
	  exit 1; \
	fi; \
	for python in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	  if $$python -c '$(TOO_OLD)' >/dev/null 2>&1; then exec $$python scripts/setup_environment.py; fi; \
	done; \
	echo "setup: found no Python 3.11 or newer. Install one (python.org, or your system's packages), or say where it is: make setup PYTHON=/path/to/python3" >&2; \
	exit 1

always:

clean:
	rm -rf _book .quarto .cache build semanticbm.egg-info .pytest_cache .ruff_cache .hypothesis
