# queuectl: `make demo` shows it, `make test` tests it; each sets up .venv first, with nothing but Python and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TOOLS := mandoc:mandoc curl:curl mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs bindfs:bindfs strace:strace rsync:rsync nano:nano zsh:zsh fish:fish systemd-analyze:systemd
TOOLS += chromium:chromium chromedriver:chromium-driver
MANUAL := man/queuectl.1 man/queuectl-spool.5 man/queuectl.conf.5 man/queuectl-metrics.7 man/queuectl-trace.7 man/queuectl-web.7
# Out of the package, not with it: that starts a server, open to everybody.
GET_PROMTOOL = (mkdir -p .tools && cd .tools && apt-get download -qq prometheus && \
	  dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x --strip-components=3 ./usr/bin/promtool && rm prometheus_*.deb) 2>/dev/null

.PHONY: help demo screenshots test verify powercut chaos soak bench bench-clean lint test-deps install clean
.DEFAULT_GOAL := help

help: ## say what can be made
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | awk -F'\t' '{printf "  make %-11s %s\n", $$1, $$2}'

demo: $(READY) ## real workers run real jobs through every state (WEB=1: and then a page shows them)
	WEB="$(WEB)" $(BIN)/python tests/demo.py

screenshots: $(READY) ## take the pictures of the page, in docs/screenshots (ALL=1: of each view)
	PYTHONPATH=.:tests $(BIN)/python tests/screenshots.py $(if $(ALL),ALL)

test: $(READY) ## all the tests
	$(BIN)/python -m pytest tests/ -v

verify: $(READY) ## check each promise of the README here, in under a minute
	$(BIN)/python verify_all.py

powercut: $(READY) ## cut the power of real file systems (root; STATES=1000 FS="ext4 xfs" SEED=1)
	PYTHONPATH=.:tests $(BIN)/python tests/powercut/run.py

chaos: $(READY) ## kill anything at any time (SECONDS=60 SEED=1 POOLS=2, or KILLS=1000)
	PYTHONPATH=.:tests $(BIN)/python tests/chaos/run.py

soak: $(READY) ## a long run in which nothing may grow (SECONDS=3600 SEED=1)
	PYTHONPATH=.:tests $(BIN)/python tests/soak/run.py

bench: $(READY) ## how fast, beside its peers, which it gets into bench/.peers (QUICK=1: in 3 minutes; ROWS=drains,idle)
	$(BIN)/python -m bench.run

bench-clean: ## remove the peers that bench got
	rm -rf bench/.peers

lint: $(READY) ## ruff, and mandoc on the manual
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@command -v mandoc >/dev/null || { echo "lint: mandoc is missing: make test-deps"; exit 1; }
	mandoc -T lint -W warning $(MANUAL)

test-deps: ## what tests need beside Python, from Debian's packages: mandoc, file systems, shells, a browser and systemd
	@missing=; for tool in $(TOOLS); do PATH=$$PATH:/usr/sbin:/sbin command -v $${tool%%:*} >/dev/null || missing="$$missing $${tool#*:}"; done; \
	if [ -z "$$missing" ]; then echo "test-deps: all is there"; \
	elif ! command -v apt-get >/dev/null; then echo "test-deps: no apt-get here: install$$missing by hand, or their tests are skipped"; \
	else sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $$missing; fi
	@if command -v promtool >/dev/null || [ -x .tools/promtool ] || ! command -v apt-get >/dev/null; then :; else \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; $(GET_PROMTOOL) || { $$sudo apt-get update -qq; $(GET_PROMTOOL); } || \
	  echo "test-deps: no promtool can be had: its tests are skipped"; fi

install: ## for this user: by pipx where it is there, else pip
	@if command -v pipx >/dev/null; then pipx install --force .; else $(PYTHON) -m pip install --user .; fi

clean: bench-clean ## remove what was made here
	rm -rf $(VENV) .tools .demo build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "queuectl needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1): make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) lacks its venv module: on Debian, apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install --quiet -e '.[dev]'
	@touch $@
