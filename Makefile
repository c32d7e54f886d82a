# Two commands for a fresh machine: `make demo` and `make test`. Both install what is missing, once.
PRESET ?= release
JOBS ?= $(shell nproc)
BASALT_SHARED ?= $(abspath ../shared)
export BASALT_SHARED
BIN := build/$(PRESET)/bin

.PHONY: help deps web-deps build demo test verify bench bench-accept fuzz format format-check tidy \
        sanitize web e2e e2e-smoke go-test clean

help:
	@sed -n 's/^## //p' Makefile

## make demo      install what is missing, build, simulate a trace under six policies, write reports
demo: build
	@mkdir -p build/demo
	$(BIN)/basalt sim --generate --policy random,dot-product,gpu-clustering,gpu-packing,best-fit,fgd \
	  --seeds 42-44 --report build/demo/fragmentation.html
	$(BIN)/basalt sim --scenario examples/hami-before-after.yaml --report build/demo/slicing.html
	$(BIN)/basalt topo show dgx-1-v100 --svg build/demo/dgx-1.svg
	$(BIN)/basalt topo compare --jobs 2000
	@echo "Open build/demo/fragmentation.html, build/demo/slicing.html and build/demo/dgx-1.svg in a browser."

## make test      install what is missing, build, run every test
test: build web-deps
	ctest --preset release --no-tests=error -j $(JOBS)

## make build     leaves the command at build/release/bin/basalt
build: deps
	cmake --preset $(PRESET) >/dev/null
	cmake --build --preset $(PRESET) -j $(JOBS)

## make verify    every published ATC'23 run in BASALT_SHARED, difference 0.00 expected
verify: build
	$(BIN)/basalt verify atc23 \
	  --nodes $(BASALT_SHARED)/data/alibaba_openb_2023/csv/openb_node_list_gpu_node.csv \
	  --pods $(BASALT_SHARED)/data/alibaba_openb_2023/csv \
	  --orders $(BASALT_SHARED)/data/fgd_atc23_expected/orders \
	  --expected $(BASALT_SHARED)/data/fgd_atc23_expected

## make bench     latency of decisions, gangs, evictions and calls, a cluster's sync, a month of a platform, the gate
bench: build
	$(BIN)/bench_decisions
	$(BIN)/bench_topology
	$(BIN)/bench_gangs
	$(BIN)/bench_eviction
	$(BIN)/bench_platform
	$(BIN)/bench_serve
	$(BIN)/bench_sync
	$(BIN)/basalt bench

## make bench-accept REASON="..."   take the present decisions and work as right
bench-accept: build
	$(BIN)/basalt bench --accept --reason "$(REASON)"

## make fuzz      each decoder's fuzzer for FUZZ_SECONDS (default 60), corpus in test/fuzz/corpus
fuzz: deps
	scripts/fuzz.sh

## make sanitize  unit tests under ASan+UBSan, and the threaded ones under TSan
sanitize: deps
	cmake --preset asan >/dev/null && cmake --build --preset asan -j $(JOBS) --target unit_tests
	ctest --preset asan --no-tests=error -j $(JOBS)
	cmake --preset tsan >/dev/null && cmake --build --preset tsan -j $(JOBS) --target threads_tests
	ctest --preset tsan --no-tests=error -j $(JOBS)

## make e2e       schedulers against a real control plane on loopback; make e2e-smoke: one case an adapter
e2e: build
	scripts/e2e.sh all
e2e-smoke: build
	scripts/e2e.sh smoke
## make go-test   vet and unit tests of the Go modules
go-test:
	scripts/e2e.sh unit

## make format    clang-format over our C++; make tidy: clang-tidy over it
format: deps
	scripts/sources.sh | xargs clang-format-19 -i
format-check: deps
	scripts/sources.sh | xargs clang-format-19 --dry-run -Werror
tidy: build
	scripts/tidy.sh $(PRESET)

## make web       rebuild the report's page (needs npm; the built page is committed)
web:
	npm ci --prefix web --no-audit --no-fund
	npm run --prefix web build

deps:
	@scripts/install-deps.sh
web-deps:
	@scripts/install-web-deps.sh
clean:
	rm -rf build
