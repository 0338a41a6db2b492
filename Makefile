# One command each; see CONTRIBUTING.md.
VENV ?= .venv
PYTHON ?= python3
# The environment's interpreter when there is one.
PY = $(shell [ -x $(VENV)/bin/python ] && echo $(VENV)/bin/python || echo $(PYTHON))
T ?= tests
CLANG_FORMAT ?= clang-format
CLANG_TIDY ?= clang-tidy
RUFF ?= $(PY) -m ruff
C_FILES = $(shell find src tests/c benchmarks -name '*.[ch]')
INCLUDE = $(shell $(PY) -c "import sysconfig; print(sysconfig.get_path('include'))")
SANITIZER = $(shell $(CC) -print-file-name=libasan.so)

.PHONY: venv build debug sanitize test test-c lint format bench clients upstream conformance clean

venv:
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -q -e ".[dev]"

build:
	$(PY) setup.py -q build_ext --inplace

debug:
	CLOOP_DEBUG=1 $(PY) setup.py -q build_ext --inplace

test: build
	$(PY) -m pytest $(T)

test-c:
	$(PY) -m pytest tests/test_os.py

# The tests that start sanitizers of their own, or measure time or memory, are left out.
sanitize:
	CLOOP_SANITIZE=1 $(PY) setup.py -q build_ext --inplace
	LD_PRELOAD=$(realpath $(SANITIZER)) PYTHONMALLOC=malloc CLOOP_SANITIZED=1 \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	$(PY) -m pytest -p no:cacheprovider -o timeout=300 $(T)

lint:
	$(CLANG_FORMAT) --dry-run -Werror $(C_FILES)
	printf '%s\n' $$(find src -name '*.c') | xargs -P 2 -I{} $(CLANG_TIDY) --quiet {} -- \
	    -std=c11 -D_GNU_SOURCE -Wall -Wextra -I$(INCLUDE)
	$(RUFF) check .
	$(RUFF) format --check .

format:
	$(CLANG_FORMAT) -i $(C_FILES)
	$(RUFF) check --fix .
	$(RUFF) format .

bench: build
	$(PY) -m benchmarks

clients: build
	$(PY) -m pytest tests/clients

upstream: build
	$(PY) tests/clients/upstream.py

conformance: build
	$(PY) -m pytest tests/stdlib

clean:
	rm -rf build dist *.egg-info cloop/*.so
