# Two commands do everything on a fresh Debian 12 or Ubuntu: `make demo` and `make test`.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo --preserve-env=PATH,CI)
BIN := .venv/bin

.PHONY: help demo test lint bench lock setup clean

help:
	@echo "make demo [ARGS=--exit]      from git tag to a served HTTPS page, here, on the embedded defaults"
	@echo "make test [ARGS='-k name']   lint, types, and every test"
	@echo "make lint                    style, types and the direction of imports alone"
	@echo "make bench NAME=ship [JSON=FILE]   us and the peers in turn on the same work"
	@echo "make lock                    write the hashed locks anew"

setup:
	@scripts/setup

demo: setup
	@$(SUDO) $(BIN)/tagboat demo $(ARGS)

test: lint
	@$(SUDO) $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadgroup $(ARGS)

lint:
	@scripts/setup test
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache >.venv/imports.txt || { cat .venv/imports.txt; exit 1; }

bench:
	@scripts/setup test
	@$(SUDO) $(BIN)/python -m bench $(or $(NAME),ship) $(if $(JSON),--json $(JSON))

lock: setup
	@scripts/lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
