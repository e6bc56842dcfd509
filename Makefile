# make run     build, and start the gateway with its demo (Ctrl-C stops it)
# make test    run all tests
# make lint    format, clippy, and the libraries that must not be in the tree
# make check   lint and test
# make fuzz    what is read from strangers, on random inputs, for SECONDS=60 each; all at once
# make release the binary that ships, in target/dist (takes some minutes)
#
# What the system lacks is installed first: see scripts/setup.

CARGO ?= cargo
HTTPS_PORT ?= 8443
HTTP_PORT ?= 8080
ADMIN_PORT ?= 9100
SECONDS ?= 60

# One crypto stack, OpenSSL. None of these may come in by a side door.
BANNED := ring aws-lc-rs aws-lc-sys rustls boring boring-sys rsa

.PHONY: run build test lint check fuzz release clean

run: build
	$(CARGO) run --locked --quiet -- demo --https-port $(HTTPS_PORT) --http-port $(HTTP_PORT) --admin-port $(ADMIN_PORT)

build:
	@scripts/setup build
	$(CARGO) build --locked

test:
	@scripts/setup test
	$(CARGO) test --locked --features pkcs11

lint:
	@scripts/setup build
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings
	$(CARGO) clippy --all-targets --locked --features pkcs11 -- -D warnings
	@tree=$$($(CARGO) tree --locked --all-features --edges normal,build,dev --prefix none --format '{p}') || exit 1; \
	for crate in $(BANNED); do \
		if printf '%s\n' "$$tree" | grep -q "^$$crate v"; then \
			echo "lint: $$crate must not be in the tree; cargo tree --invert $$crate says why it is" >&2; exit 1; \
		fi; \
	done
	@if command -v cargo-deny >/dev/null 2>&1; then $(CARGO) deny --locked check; \
	else echo "lint: cargo-deny is not installed, deny.toml was not checked" >&2; fi

check: lint test

fuzz:
	@scripts/setup build
	DURWARD_FUZZ_SECONDS=$(SECONDS) $(CARGO) test --locked --test fuzz -- --nocapture

release:
	@scripts/setup release
	scripts/release

clean:
	$(CARGO) clean
