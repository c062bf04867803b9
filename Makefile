# eduCloud: `make up` on a fresh Debian 12 machine brings a whole cloud; `make help` lists the rest.
SHELL := /bin/sh
PYTHON := .venv/bin/python
PROFILE ?=
NAME ?=
MINUTES ?= 10
QUICK = $(addprefix tests/,arch contract unit conformance api console)
ONLY ?=
export PROFILE EDUCLOUD_HOME EDUCLOUD_PORT_BASE EDUCLOUD_SUBNET EDUCLOUD_DEMO EDUCLOUD_UPLINK EDUCLOUD_ROLES LISTEN ROLE BOSS TOKEN TOKEN_FILE
.DEFAULT_GOAL := help
.PHONY: client doctor join soak samples generated up down reset test quick lint bench help install install-test dev profile

up: profile install ## Install what is missing and start the cloud; ends when the first image is ready
	@$(PYTHON) -m deploy.host up

down: profile ## Stop everything `make up` started, guests gracefully first; the state stays
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m deploy.host down; else echo "nothing to do: nothing is installed here"; fi

reset: profile ## Like down, and delete the state; Debian packages and .venv stay
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m deploy.host reset; else echo "nothing to do: nothing is installed here"; fi

test: install-test ## The whole suite with real services and guests; installs what it needs
	@$(PYTHON) -m pytest -q -n auto --dist worksteal -m "not live"
	@$(PYTHON) -m pytest -q -n 2 --dist loadscope -m live

quick: dev ## The fast part: in-process, no sockets, about a minute
	@$(PYTHON) -m pytest -q -n auto --dist worksteal -m "not live and not walk" $(QUICK)

lint: dev ## Lint, types, import contract
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

doctor: ## What is missing or wrong on this machine and what to do; works before `make up` too
	@if $(PYTHON) -c 'import typer, httpx' 2>/dev/null; then $(PYTHON) -m deploy.cli.main doctor; \
	elif [ -x $(PYTHON) ]; then $(PYTHON) -m deploy.doctor; else python3 -m deploy.doctor; fi

bench: dev ## Benchmarks, all or NAME=start|up|many|overload|...: a table and bench/results/<name>.json; BUSY=1: whatever else runs
	@code=0; EDUCLOUD_BENCH_BUSY=$(BUSY) $(PYTHON) -m bench.run $(NAME) || code=$$?; $(PYTHON) -m deploy.generate docs; exit $$code

soak: install-test ## Kill, cut, freeze and flood it for MINUTES=10 (ONLY="images attacks": these kinds); a table, and counts for docs/ledger.json
	@code=0; $(PYTHON) -m tests.soak --minutes $(MINUTES) $(ONLY:%=--only %) || code=$$?; $(PYTHON) -m deploy.generate docs; exit $$code

client: ## The command line client alone, for a machine that only uses a cloud
	@[ -x $(PYTHON) ] || python3 -m venv .venv
	@$(PYTHON) deploy/lock.py client >.venv/client.txt
	@$(PYTHON) -m pip install -q --disable-pip-version-check --require-hashes -r .venv/client.txt
	@$(PYTHON) -m pip install -q --disable-pip-version-check --no-deps -e .

help: ## This list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  make %-9s %s\n' "$$name" "$$text"; done

install:
	@deploy/install.sh

install-test:
	@deploy/install.sh --test

dev:
	@[ -x .venv/bin/pytest ] || deploy/install.sh --test

profile:
	@case "$(PROFILE)" in ""|full|rootless|demo) ;; *) echo "PROFILE=$(PROFILE) is unknown: full, rootless or demo." >&2; exit 2 ;; esac

samples: install ## Regenerate message samples and fingerprints
	@$(PYTHON) -m deploy.generate samples

generated: install ## Regenerate the pages of messages, settings, errors, life cycles, words
	@$(PYTHON) -m deploy.generate docs

join: profile ## On another machine: install one role, join, start (ROLE= BOSS= TOKEN= or TOKEN_FILE=)
	@deploy/install.sh --role "$$ROLE"
	@$(PYTHON) -m deploy.host join
