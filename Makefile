# Two verbs do most of it: `make bench` measures, `make test` checks.
PYTHON ?= python3
BIN := .venv/bin
CORES := $(shell nproc 2>/dev/null || echo 2)
WORKERS := $(shell expr $(CORES) \& $(CORES) \<= 4 \| 4)# of 1 GB each
PARALLEL := --dist loadfile --no-loadscope-reorder -n# a file at a time, the longest first
.DEFAULT_GOAL := help
.PHONY: help bench test test-system test-all test-release fuzz mutants coverage lint format site schema picture dist sbom benchmark benchmark-statistics lock clean

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST)

bench: .venv/run ## one small run: simulated, or your deployment where AZURE_OPENAI_ENDPOINT is set (SIMULATOR=1, TARGETS=a,b, SESSIONS=45, YES=1)
	@$(BIN)/rtbench quickstart $(if $(SIMULATOR),--simulator) $(if $(TARGETS),--targets $(TARGETS)) $(if $(SESSIONS),--sessions $(SESSIONS)) $(if $(YES),--yes)

test test-system: export PYTHONDONTWRITEBYTECODE = # hundreds of processes import what one of them has compiled
test: .venv/dev ## what needs no process of its own, and one real run through each station: three to four minutes on two cores (EXAMPLES=all: 300 of each property)
	$(BIN)/python -m pytest -q $(PARALLEL) $(WORKERS) --ignore tests/system --durations=25 --durations-min=1

# More processes than cores: most of their time is waiting.
test-system: .venv/dev ## what starts processes, or works on damaged and hostile run folders (tests/system): five to eight minutes on two cores
	$(BIN)/python -m pytest -q $(PARALLEL) 8 --durations=25 --durations-min=1 tests/system

test-all: test test-system ## both: all that a change must hold

test-release: .venv/dev ## the wheel installed by pip and by uv in an empty folder, and what a new user does there (from the package index)
	$(BIN)/python -m pytest -q -n 4 tests/release

coverage: .venv/dev ## how much of the pure core, and of plans, runs, summaries and verdicts, their own tests take, branches counted; below a floor it fails
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q -n $(WORKERS) --dist worksteal $(PURE) $(READ) $(JUDGED)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --include 'bench/observe/*,bench/protocol/*,bench/transport/*,reports/statistics/*'
	$(BIN)/coverage report --include 'bench/plan/*' --fail-under 98
	$(BIN)/coverage report --include 'bench/run/*' --fail-under 97.1
	$(BIN)/coverage report --include 'bench/load/planning/*' --fail-under 97.2
	$(BIN)/coverage report --include 'reports/summary/*' --fail-under 95
	$(BIN)/coverage report --include 'reports/sides/*' --fail-under 98
	$(BIN)/coverage report --include 'reports/comparisons/*' --fail-under 97
	$(BIN)/coverage report --include 'reports/gate/*' --fail-under 96.5
	$(BIN)/coverage report --include 'reports/looks/*' --fail-under 96.5

PURE := tests/observe tests/protocol tests/transport tests/system/transport tests/reports/statistics tests/reports/test_statistics.py \
	tests/test_session.py tests/test_session_vad.py \
	tests/test_conversations.py tests/test_talking.py tests/test_long_calls.py tests/test_third_dialect.py \
	tests/reports/test_rates.py
READ := tests/plan tests/run tests/system/run tests/load $(patsubst %,tests/reports/test_%.py,targets by_load costs frames lost spoken summary terminal)
JUDGED := $(patsubst %,tests/reports/%,gate comparisons looks test_api.py test_all_commands.py test_uncertainty.py) \
	tests/system/load/test_decision.py

lint: .venv/dev ## style, types, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

format: .venv/dev ## put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

site: export NO_MKDOCS_2_WARNING = 1
site: .venv/dev ## the documents as a site with a search, in build/site; a broken link fails
	$(BIN)/python -m mkdocs build --strict

picture: .venv/dev ## the picture of a report in the README; needs Chromium
	$(BIN)/python -m tests.system.browser.picture

schema: .venv/dev ## write the JSON Schemas of scripts and targets, for editors, and of every JSON that the tool writes (reports/schemas, which git ignores); the tables of docs/simulator.md and bench/simulator/README.md, the options of docs/options.md; the columns of docs/run-folder.md, the instants of docs/metrics.md; the project's own addresses, from pyproject.toml; LICENCES.md
	$(BIN)/python -m bench.plan.script > scenarios/scripts/script.schema.json
	$(BIN)/python -m bench.target.target_settings > scenarios/targets.schema.json
	$(BIN)/python -m tests.docs.schemas
	$(BIN)/python -m tests.faults.page
	$(BIN)/python -m tests.clients.page
	$(BIN)/python -m tests.docs.licences
	$(BIN)/python -m tests.docs.options
	$(BIN)/python -m tests.docs.columns
	$(BIN)/python -m tests.docs.addresses

fuzz: .venv/dev ## a million spoilt inputs, to the simulator and to the harness; it ends at the first that does harm
	$(BIN)/python -m benchmarks.fuzz $(if $(CASES),--cases $(CASES))

mutants: .venv/dev ## change 200 lines of the product, one at a time: which changes no test finds (a quarter of an hour; COUNT=2000)
	$(BIN)/python -m tests.mutants $(if $(COUNT),--count $(COUNT))

benchmark: .venv/dev ## measure the numbers that the documents quote (no test; an hour; PARTS="peers cost")
	$(BIN)/python -m benchmarks $(PARTS)

benchmark-statistics: .venv/dev ## how often verdicts are wrong, on simulated data (half an hour)
	$(BIN)/python -m benchmarks statistics sequential

dist: .venv/dev ## the wheel and the sdist, in dist, with the JSON Schemas
	$(BIN)/python -m tests.docs.schemas
	$(BIN)/python -m build

sbom: .venv/dev ## a bill of materials of all that is installed with the package, in dist/sbom.cdx.json (CycloneDX)
	rm -rf build/sbom && $(PYTHON) -m venv build/sbom && mkdir -p dist
	build/sbom/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	build/sbom/bin/python -m pip install -q --disable-pip-version-check --no-deps .
	build/sbom/bin/python -m pip uninstall -q --yes pip
	$(BIN)/cyclonedx-py environment --output-reproducible -o dist/sbom.cdx.json build/sbom/bin/python

lock: .venv/dev ## pin the newest versions that pyproject.toml allows
	$(BIN)/pip-compile $(LOCK) --upgrade -o requirements.lock pyproject.toml
	$(BIN)/pip-compile $(LOCK) --upgrade --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml

LOCK := -q --no-header --no-annotate --strip-extras --generate-hashes --allow-unsafe \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options

clean: ## remove what was made here, runs excepted
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

# The environment, in two sizes. The stamp files say which lock it was made from.
.venv/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Realtime Bench needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "This Python has no venv. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/run: requirements.lock pyproject.toml | .venv/pip
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

.venv/dev: requirements-dev.lock .venv/run
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
