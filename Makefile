# The commands of the README. Each sets up what it needs and says what it installs.
CACHE := $(or $(WEIR_CACHE),$(HOME)/.cache/weir)
TARGET := $(or $(CARGO_TARGET_DIR),$(CACHE)/target)
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: help demo test build bench lint clean

help:
	@echo "make demo    build quickly and run the demo (needs root for eBPF and namespaces)"
	@echo "make test    everything that is checked"
	@echo "make build   the release binary, bin/weir"
	@echo "make bench   the tables of docs/PERFORMANCE.md"
	@echo "make lint    format and lints only"
	@echo "make clean   remove build output from the cache and from here"

demo:
	scripts/setup demo
	scripts/ui
	scripts/cargo build --profile quick --locked --bin weir
	mkdir -p bin
	cp --force $(TARGET)/quick/weir bin/weir
	$(AS_ROOT) bin/weir demo $(DEMO_FLAGS)

test:
	scripts/setup test
	scripts/test

build:
	scripts/setup build
	scripts/ui
	scripts/cargo build --release --locked --bin weir
	mkdir -p bin
	cp --force $(TARGET)/release/weir bin/weir

bench: build
	scripts/setup bench
	$(AS_ROOT) bin/weir bench packets
	$(AS_ROOT) bin/weir bench network
	$(AS_ROOT) bin/weir bench policy
	bin/weir bench rows
	bin/weir bench ingest --python $(CACHE)/python/bin/python --beside benches/engines.py
	$(AS_ROOT) bin/weir bench queries --python $(CACHE)/python/bin/python --beside benches/queries.py
	bin/weir bench pages --browser scripts/ui
	$(AS_ROOT) bin/weir bench follow
	$(AS_ROOT) bin/weir bench memory
	$(AS_ROOT) bin/weir bench burst

lint:
	scripts/setup test
	scripts/tidy
	scripts/ui run check
	scripts/cargo fmt --all -- --check
	scripts/cargo clippy --workspace --all-targets --locked -- -D warnings

clean:
	rm -rf bin ui/dist/app ui/dist/sources ui/node_modules $(TARGET)
