# make setup      the environment, in .venv; every other target creates it if it is missing
# make demo       the whole pipeline; writes runs/demo/report.html; for your cameras: VIDEO="a.mp4 b.mp4" DETECTOR=onnx:model.onnx
# make test       all tests, on up to 4 cores
# make test-fast  the tests that take at most 3 s each
# make lint       ruff and mypy
# make bench      speed of each stage, relative to a lower bound or the straightforward implementation
# make fuzz       damaged and hostile files as input of every command; FUZZ_INPUTS=1000
# make soak       live cameras on loopback for minutes: delay, memory, fairness, return; SOAK_MINUTES=10
# make clean      removes .venv, runs and caches

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
# The environment is reused while these files stay the same, and rebuilt when one changes.
STAMP := .venv/ready-$(shell { cat setup.cfg constraints.txt Makefile; $(PYTHON) --version; } | cksum | cut -d' ' -f1)
DEMO_DIR ?= runs/demo
FUZZ_INPUTS ?= 1000
SOAK_MINUTES ?= 10

.PHONY: help setup demo test test-fast lint bench fuzz soak clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

setup: $(STAMP)
	@echo "environment ready in .venv (source .venv/bin/activate); next: make demo, or python tools/doctor.py"

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || \
		{ echo "this kit needs Python 3.11 or 3.12; select one: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e ".[torch,paddle,deploy,serving,online,cluster,dev]"
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt --no-deps paddleseg tensorrt-stubs
	@touch $@

demo: $(STAMP)
	$(BIN)/python tools/demo.py --save_dir $(DEMO_DIR) $(if $(VIDEO),--video "$(VIDEO)") $(if $(MANIFEST),--manifest "$(MANIFEST)") \
		$(if $(DETECTOR),--detector "$(DETECTOR)") $(DEMO_FLAGS)

# A file's tests share what it builds, so one worker runs them; conftest.py puts the longest files first.
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

test: $(STAMP)
	$(PYTEST) $(PYTEST_FLAGS)

test-fast: $(STAMP)
	$(PYTEST) -m "not slow" $(PYTEST_FLAGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/support/tensorrt_stubs.py build/typings
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m pytest tests/benchmarks -s

fuzz: $(STAMP)
	$(BIN)/python tests/fuzz.py --inputs $(FUZZ_INPUTS)

soak: $(STAMP)
	$(BIN)/python tests/soak.py --minutes $(SOAK_MINUTES)

clean:
	rm -rf .venv runs build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
