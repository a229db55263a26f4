# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# The commands everyone types. CMake does the building; scripts/ holds whatever is longer than a line.

BUILD := build
EXAMPLE := examples/pydoc-mohd
PROMPT ?= The function returns
TOKENS ?= 300
SAMPLING ?= --temperature 0.6 --top-p 0.9 --seed 3
# What reads hostile input; none of it needs MLIR, so it builds with sanitizers in a minute.
SANITIZED := mohd-format-tests mohd-runtime-tests mohd-emulator-tests MohdModelTests MohdRunTests \
  FuzzBundleTests FuzzConfigTests FuzzExprTests FuzzJsonTests FuzzSafetensorsTests
# What has threads, for ThreadSanitizer.
THREADED := mohd-runtime-tests mohd-emulator-tests
PYTHON = $(shell scripts/setup --print-python)
RUN_PYTHON = PYTHONPATH=python $(PYTHON)

.PHONY: help setup ptxas build sanitized threads demo check bench study study-small lint format docs clean
.DEFAULT_GOAL := build

help:
	@echo 'make demo     install, build, compile the example model, generate text, compare its logits with PyTorch'
	@echo 'make check    install, build, run every test, those of hostile input and of threads with sanitizers too'
	@echo 'make bench    measure beside other software (35 minutes) and write docs/performance.md anew'
	@echo 'make study    train the small models of docs/results.md (two hours; goes on where it was) and write it anew'
	@echo 'make study-small    the same, mohd.analyze and mohd.convert at a small size, into $(BUILD)/studies/small'
	@echo 'make build    install and build into $(BUILD)/ (the default)'
	@echo 'make lint     check the house rules;  make format fixes what can be fixed'
	@echo 'make docs     write docs/generated/ anew'
	@echo 'make setup    install Debian packages and the Python environment;  make ptxas the assembler of CUDA kernels too'
	@echo 'make clean    remove the build folders'

setup:
	@scripts/setup

ptxas: setup
	@scripts/setup --cuda

$(BUILD)/build.ninja: CMakePresets.json | setup
	cmake --preset default

build: setup $(BUILD)/build.ninja
	ninja -C $(BUILD)

build-asan/build.ninja: CMakePresets.json | setup
	cmake --preset asan

sanitized: setup build-asan/build.ninja
	ninja -C build-asan $(SANITIZED)

build-tsan/build.ninja: CMakePresets.json | setup
	cmake --preset tsan

threads: setup build-tsan/build.ninja
	ninja -C build-tsan $(THREADED)

demo: build
	$(BUILD)/bin/mohd-compile $(EXAMPLE) --target=cpu:native -o $(BUILD)/demo.mohdb
	$(BUILD)/bin/mohd-run $(BUILD)/demo.mohdb --prompt '$(PROMPT)' --echo --max-new-tokens $(TOKENS) $(SAMPLING)
	@echo python -m mohd.compare $(EXAMPLE) --text examples/sample.txt
	@$(RUN_PYTHON) -m mohd.compare $(EXAMPLE) --text examples/sample.txt

check: ptxas build sanitized threads
	@scripts/check --build $(BUILD) --sanitized build-asan --sanitized build-tsan --python $(PYTHON)

bench: ptxas build
	bench/run --build $(BUILD)
	bench/report

study: build
	studies/run --build $(BUILD)
	studies/report

study-small: build
	studies/small $(BUILD)

lint:
	scripts/lint

format:
	scripts/lint --fix

docs: build
	scripts/gen_docs

clean:
	rm -rf $(BUILD) build-asan build-tsan
