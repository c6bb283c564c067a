# make setup      the environment, in .venv; every other target creates it if it is missing
# make demo       the whole pipeline; writes runs/demo/report.html; for your cameras: VIDEO="a.mp4 b.mp4" DETECTOR=onnx:model.onnx
# make test       all tests, on up to 4 cores
# make test-fast  the tests that take at most 3 s each
# make lint       ruff and mypy
# make bench      speed of each stage, relative to a lower bound or the straightforward implementation
# make fuzz       damaged and hostile files as input of every command; FUZZ_INPUTS=1000
# make torture    every stage against kills, signals, a second writer, full disks, hostile servers; MINUTES=10
# make soak       live cameras on loopback for minutes: delay, memory, fairness, return; SOAK_MINUTES=10
# make lock       requirements.lock, the hashes of the versions in constraints.txt
# make sbom       build/sbom.json: what .venv holds, with versions and licences (CycloneDX)
# make clean      removes .venv, runs and caches

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
# The environment is reused while these files stay the same, and rebuilt when one changes.
STAMP := .venv/ready-$(shell { cat setup.cfg requirements.lock Makefile; $(PYTHON) --version; } | cksum | cut -d' ' -f1)
INSTALL := $(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation
DEMO_DIR ?= runs/demo
FUZZ_INPUTS ?= 1000
SOAK_MINUTES ?= 10
MINUTES ?= 10

.PHONY: help setup demo test test-fast lint bench fuzz torture soak lock sbom clean
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
	@# setuptools first: it builds the packages that have no wheel. No package is asked what it requires: all are listed.
	sed -n '/^setuptools==/,/[^\\]$$/p' requirements.lock | $(INSTALL) --require-hashes -r /dev/stdin
	$(INSTALL) --require-hashes -r requirements.lock
	$(INSTALL) -e .
	@touch $@

demo: $(STAMP)
	$(BIN)/python tools/demo.py --save_dir $(DEMO_DIR) $(if $(VIDEO),--video "$(VIDEO)") $(if $(MANIFEST),--manifest "$(MANIFEST)") \
		$(if $(DETECTOR),--detector "$(DETECTOR)") $(DEMO_FLAGS)

# A file's tests share what it builds, so one worker runs them; conftest.py puts the longest files first. One worker more
# than cores, at most four, since tests wait for other processes too.
WORKERS := $(shell cores=$$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN); echo $$((cores < 4 ? cores + 1 : 4)))
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0

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

torture: $(STAMP)
	$(BIN)/python tests/torture.py --minutes $(MINUTES)

soak: $(STAMP)
	$(BIN)/python tests/soak.py --minutes $(SOAK_MINUTES)

# Both tools have an environment of their own, which the kit does not need.
build/supply:
	$(PYTHON) -m venv $@
	$@/bin/pip install -q --disable-pip-version-check uv==0.13.9 cyclonedx-bom==7.5.0

lock: build/supply
	build/supply/bin/uv pip compile -q --universal --python-version 3.11 --no-deps --no-annotate --generate-hashes \
		--custom-compile-command "make lock" constraints.txt -o requirements.lock

sbom: $(STAMP) build/supply
	build/supply/bin/cyclonedx-py environment --output-reproducible --of JSON -o build/sbom.json $(BIN)/python
	@echo "wrote build/sbom.json"

clean:
	rm -rf .venv runs build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
