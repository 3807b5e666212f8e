# The targets of mica; `make help` lists them. CMake does the work (see docs/building.md).

BUILD     ?= build
PREFIX    ?= /usr/local
JOBS      ?= $(shell nproc 2>/dev/null || echo 2)
# Further CMake options: make CMAKE_FLAGS=-DCMAKE_C_COMPILER=clang
CMAKE_FLAGS ?=
# make test T=tensor runs the tests whose name contains `tensor`.
T ?=
FUZZ_SECONDS ?= 60

configure = cmake -S . -B $(1) -G Ninja -DCMAKE_INSTALL_PREFIX=$(PREFIX) $(2) $(CMAKE_FLAGS) >$(1)/configure.log 2>&1 \
  || { cat $(1)/configure.log; exit 1; }
# $(call build,FOLDER,OPTIONS): configure once (and again when the options change), then build.
build = @mkdir -p $(1); \
  if ! [ -f $(1)/build.ninja ] || [ "$$(cat $(1)/options 2>/dev/null)" != '$(PREFIX) $(2) $(CMAKE_FLAGS)' ]; then \
    $(call configure,$(1),$(2)); echo '$(PREFIX) $(2) $(CMAKE_FLAGS)' >$(1)/options; fi; \
  cmake --build $(1) -j $(JOBS)
# $(call need,PATH,WHAT): a target whose subject is not in the tree says so and fails.
need = @[ -e $(1) ] || { echo "make $@: there is no $(2) in this tree ($(1))" >&2; exit 1; }

.DEFAULT_GOAL := all
.PHONY: all test demo bench claims sanitize sanitize-thread valgrind fuzz embedded embedded-arm64 \
  install format format-check abi docs clean help

all: ## build the library, the tool and the tests into build/
	@scripts/setup --check build || { echo "make: install what is missing, or run scripts/setup" >&2; exit 1; }
	$(call build,$(BUILD),-DCMAKE_BUILD_TYPE=Release)

test: ## install what is missing, build, run every test (T=name: some of them)
	@scripts/setup build test
	$(call build,$(BUILD),-DCMAKE_BUILD_TYPE=Release)
	@scripts/run_tests -d $(BUILD) -k "$(T)"

demo: ## train on images, text and clicks, teach new classes, write reports (under 5 minutes)
	@scripts/setup build test demo
	$(call need,scripts/demo,demo)
	$(call build,$(BUILD),-DCMAKE_BUILD_TYPE=Release) --target mica_tool example_fashion example_clicks
	@scripts/demo $(BUILD)

bench: ## measure speed beside PyTorch and the machine's peak (T=case: one of them)
	@scripts/setup build test bench
	$(call build,$(BUILD),-DCMAKE_BUILD_TYPE=Release)
	@scripts/bench_peers $(BUILD)
	@bench/run.py $(BUILD) $(T)
	$(if $(T),,@bench/start.py $(BUILD); bench/size.py $(BUILD); bench/table.py $(BUILD))

claims: ## run the claims of all papers that this release carries
	$(call need,src/paper,paper)
	$(call build,$(BUILD),-DCMAKE_BUILD_TYPE=Release)
	@$(BUILD)/mica paper run --all

sanitize: ## test under gcc's address and undefined-behaviour sanitizers
	@scripts/setup build test
	$(call build,build-sanitize,-DCMAKE_BUILD_TYPE=Debug -DMICA_SANITIZE=address+undefined)
	@. scripts/sanitize.env && MICA_SANITIZED=1 scripts/run_tests -d build-sanitize -k "$(T)" -p

sanitize-thread: ## test under clang's thread sanitizer
	@scripts/setup build test sanitize
	$(call build,build-tsan,-DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_COMPILER=clang -DMICA_EMBEDDED=ON -DMICA_SANITIZE=thread)
	@. scripts/sanitize.env && MICA_SANITIZED=1 scripts/run_tests -d build-tsan -k "$(T)" -p

valgrind: ## test under valgrind, with AVX2 and own kernels (it knows no AVX-512, and too little of what oneDNN generates)
	@scripts/setup build test valgrind
	$(call build,build-valgrind,-DCMAKE_BUILD_TYPE=RelWithDebInfo)
	@. scripts/sanitize.env && MICA_ISA=avx2 MICA_LIBRARIES=0 MICA_SANITIZED=1 OMP_NUM_THREADS=2 scripts/run_tests -d build-valgrind -k "$(T)" -p \
	  -w "valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite --suppressions=scripts/valgrind.supp"

fuzz: ## run each fuzz target for FUZZ_SECONDS seconds (default 60)
	@ls fuzz/fuzz_*.c >/dev/null 2>&1 || { echo "make fuzz: there is no fuzz target in this tree (fuzz/fuzz_*.c)" >&2; exit 1; }
	@scripts/setup build fuzz
	$(call build,build-fuzz,-DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_COMPILER=clang -DMICA_FUZZ=ON -DMICA_TESTS=OFF)
	@scripts/run_fuzz build-fuzz $(FUZZ_SECONDS) "$(T)"

embedded: ## build with no external library into build-embedded/ and test it
	@scripts/setup build test
	$(call build,build-embedded,-DCMAKE_BUILD_TYPE=Release -DMICA_EMBEDDED=ON)
	@scripts/run_tests -d build-embedded -k "$(T)" -p

embedded-arm64: ## cross-compile the embedded build for arm64 and test it under qemu
	@scripts/setup build arm64
	@scripts/cmocka_for arm64 build-arm64/cmocka
	$(call build,build-arm64,-DCMAKE_BUILD_TYPE=Release -DMICA_EMBEDDED=ON -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64-linux-gnu.cmake -DMICA_CMOCKA=build-arm64/cmocka)
	@scripts/run_tests -d build-arm64 -k "$(T)" -p -w "qemu-aarch64 -L /usr/aarch64-linux-gnu"

install: all ## install under PREFIX (default /usr/local), below DESTDIR when set
	@cmake --install $(BUILD) --prefix $(PREFIX)

format: ## format every source with clang-format
	@scripts/setup format
	@scripts/sources | xargs -r clang-format -i

format-check: ## fail when a source is not formatted
	@scripts/setup format
	@scripts/sources | xargs -r clang-format --dry-run -Werror

abi: ## compare the library's binary interface with the recorded one (T=record: record it)
	@scripts/setup build abi
	$(call build,build-abi,-DCMAKE_BUILD_TYPE=RelWithDebInfo -DMICA_TESTS=OFF) --target libmica.so
	@scripts/abi $(if $(T),$(T),check) build-abi/libmica.so

docs: ## build the reference manual with Doxygen; fails on a warning or an undocumented function
	@scripts/setup docs
	@scripts/check_headers
	@mkdir -p build/docs && doxygen docs/Doxyfile
	@! awk '!/is not documented/ || /\(function\)/' build/docs/warnings | grep .
	@echo "manual: build/docs/html/index.html"

clean: ## remove every build folder
	@rm -rf build build-abi build-embedded build-arm64 build-sanitize build-tsan build-valgrind build-fuzz

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
