# The two main targets: `make bench` measures, `make test` checks.
PYTHON ?= python3
BIN := .venv/bin
CORES := $(shell nproc 2>/dev/null || echo 2)
WORKERS := $(shell expr $(CORES) \& $(CORES) \<= 4 \| 4)# of 1 GB each
PARALLEL := --dist loadfile --no-loadscope-reorder -n# one file at a time, the longest first
.DEFAULT_GOAL := help
.PHONY: help bench test test-system test-all test-compiled test-release clients peers fuzz mutants coverage lint format site schema picture dist sbom benchmark benchmark-statistics lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.* ## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST)
	@echo "For maintainers:"
	@sed -n 's/^\([a-z-]*\):.* ### \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST)

bench: .venv/run ## one small run: simulated, or with your deployment if AZURE_OPENAI_ENDPOINT is set (SIMULATOR=1, TARGETS=a,b, SESSIONS=45, YES=1)
	@$(BIN)/rtbench quickstart $(if $(SIMULATOR),--simulator) $(if $(TARGETS),--targets $(TARGETS)) $(if $(SESSIONS),--sessions $(SESSIONS)) $(if $(YES),--yes)

bench test test-compiled test-system test-release coverage: export PYTHONDONTWRITEBYTECODE = # many processes import modules that one of them has compiled
test: .venv/dev ## tests without a process of their own, and one real run of each part: about three minutes on two cores (EXAMPLES=all: 300 examples of each property)
	$(BIN)/python -m pytest -q $(PARALLEL) $$(($(WORKERS) + 1)) --ignore tests/system --durations=25 --durations-min=1

test-compiled: .venv/dev ### those tests of make test that behave differently where code is compiled
	$(BIN)/python -m pytest -q $(PARALLEL) $$(($(WORKERS) + 1)) tests/observe tests/wire tests/transport/test_*.py tests/transport/media \
		$(shell grep -l needs_compiler tests/test_*.py tests/record/test_*.py tests/services/test_*.py) tests/test_compiled_arguments.py tests/test_delta_paths.py

# More processes than cores: most of their time is waiting.
test-system: .venv/dev ### tests that start processes, or use damaged and hostile run folders (tests/system): five to eight minutes on two cores
	$(BIN)/python -m pytest -q $(PARALLEL) 8 --durations=25 --durations-min=1 tests/system

test-all: test test-system ### both: all tests that a change must pass

test-release: .venv/dev ### install the wheel with pip and with uv in an empty folder, and test the first steps of a new user (needs the package index)
	$(BIN)/python -m pytest -q -n 4 tests/release

clients: .venv/dev ### try the newest release of each client of rtbench_simulator/README.md with the simulator, and print what changed (needs the registries and npm; ONLY=part of a name; not a test)
	$(BIN)/python -m tools.clients $(if $(ONLY),"$(ONLY)")

peers: .venv/dev ### call agents of others over WebRTC and by telephone, compare their values with a capture, and write the table of tools/peers/README.md (needs tcpdump, npm, the registries; ONLY=part of a name; CALLS=20; not a test)
	$(BIN)/python -m tools.peers $(if $(ONLY),"$(ONLY)") $(CALLS)

coverage: export COVERAGE_COUNTS = $(PURE) $(READ) $(JUDGED)
coverage: export COVERAGE_DOES_NOT_COUNT = $(SLOW)
coverage: .venv/dev ### make test, and branch coverage of the pure core, and of plans, runs, summaries and verdicts, by their own tests; fails below a minimum
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q $(PARALLEL) $$(($(WORKERS) + 1)) $(OUTSIDE) $(OF_SYSTEM)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --include 'bench/observe/*,bench/sound/*,bench/protocols/*,bench/wire/*,bench/services/*,bench/transport/*,reports/statistics/*'
	$(BIN)/coverage report --include 'bench/plan/*' --fail-under 98
	$(BIN)/coverage report --include 'bench/record/*' --fail-under 97.1
	$(BIN)/coverage report --include 'bench/recorded_calls/*' --fail-under 98
	$(BIN)/coverage report --include 'bench/load/planning/*' --fail-under 97.2
	$(BIN)/coverage report --include 'reports/analysis/summary/*' --fail-under 95
	$(BIN)/coverage report --include 'reports/analysis/targets/*' --fail-under 98
	$(BIN)/coverage report --include 'reports/analysis/comparisons/*,reports/pages/comparisons/*' --fail-under 97
	$(BIN)/coverage report --include 'reports/analysis/check/*' --fail-under 96.5
	$(BIN)/coverage report --include 'reports/analysis/sequential/*' --fail-under 96.5

PURE := tests/observe tests/wire tests/test_probe.py tests/test_together.py tests/test_session_text.py \
	tests/test_transcription_talks.py tests/test_delta_paths.py tests/test_matched_deltas.py tests/sessions \
	tests/test_agent_calls.py tests/system/end_to_end/test_gpt_live_calls.py \
	tests/system/end_to_end/test_encrypted_calls.py tests/services tests/transport \
	tests/system/transport tests/system/end_to_end/test_webrtc.py tests/system/end_to_end/test_calls.py \
	tests/system/attack/test_hostile_webrtc.py \
	tests/target/test_networks.py tests/doctor/test_diagnosis.py tests/reports/statistics \
	tests/reports/test_statistics.py tests/test_session.py tests/test_session_vad.py tests/test_conversations.py \
	tests/test_talking.py tests/test_long_calls.py tests/reports/test_rates.py
READ := tests/plan tests/test_validate.py tests/record tests/system/record tests/recorded_calls tests/load $(patsubst %,tests/reports/test_%.py,targets by_load costs frames not_started turn_taking turn_types summary terminal unscored)
JUDGED := $(patsubst %,tests/reports/%,check comparisons sequential test_api.py test_all_commands.py test_uncertainty.py) \
	tests/system/load/test_decision.py
SLOW := $(patsubst %,tests/%.py,recorded_calls/test_codecs recorded_calls/test_playback reports/statistics/test_change_points \
	reports/statistics/test_rates record/test_names test_session_vad \
	transport/media/test_jitter_accuracy transport/media/test_jitter_drift transport/sip/test_fuzz_signalling)# cover nothing that others do not
OF_SYSTEM := $(filter tests/system/%,$(PURE) $(READ) $(JUDGED))
OUTSIDE := $(filter-out tests/system tests/release tests/__pycache__,$(patsubst %/,%,$(wildcard tests/*/))) $(wildcard tests/test_*.py)

lint: .venv/dev ### check style, types and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell -D - -D tests/docs/idioms.txt

format: .venv/dev ### format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

site: export NO_MKDOCS_2_WARNING = 1
site: .venv/dev ### build the documents as a site with a search, in build/site; fails if a link is broken
	$(BIN)/python -m mkdocs build --strict

picture: .venv/dev ### make the picture of a report in the README; needs Chromium
	$(BIN)/python -m tools.picture

schema: .venv/dev ### write the generated files: JSON Schemas, tables of the documents, the project's addresses, LICENCES.md
	$(BIN)/python -m bench.plan.script > scenarios/scripts/script.schema.json
	$(BIN)/python -m bench.target.target_settings > scenarios/targets.schema.json
	$(BIN)/python -m bench.services.pages.page > scenarios/protocol.schema.json
	$(BIN)/python -m tools.schemas
	$(BIN)/python -m tools.fault_tables
	$(BIN)/python -m tools.client_table
	$(BIN)/python -m tools.peers.table
	$(BIN)/python -m tools.licences
	$(BIN)/python -m tools.columns
	$(BIN)/python -m tools.addresses

fuzz: .venv/dev ### send a million damaged inputs to the simulator and the load generator; stops at the first failure
	$(BIN)/python -m tools.fuzz $(if $(CASES),--cases $(CASES))

mutants: .venv/dev ### change 200 lines of the product, one at a time, and list the changes that no test finds (15 minutes; COUNT=2000)
	$(BIN)/python -m tools.mutants $(if $(COUNT),--count $(COUNT))

benchmark: .venv/dev ### measure the numbers that the documents quote (not a test; several hours; PARTS="peers cost")
	$(BIN)/python -m tools.benchmarks $(PARTS)

benchmark-statistics: .venv/dev ### measure how often verdicts are wrong, on simulated data (tens of minutes)
	$(BIN)/python -m tools.benchmarks statistics sequential aborts

dist: .venv/dev ### build the wheel and the sdist, with the JSON Schemas, in dist
	$(BIN)/python -m tools.schemas
	$(BIN)/python -m build

sbom: .venv/dev ### write a bill of materials of the package and its dependencies to dist/sbom.cdx.json (CycloneDX)
	rm -rf build/sbom && $(PYTHON) -m venv build/sbom && mkdir -p dist
	build/sbom/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-calls.lock
	build/sbom/bin/python -m pip install -q --disable-pip-version-check --no-deps .
	build/sbom/bin/python -m pip uninstall -q --yes pip
	$(BIN)/cyclonedx-py environment --output-reproducible -o dist/sbom.cdx.json build/sbom/bin/python

lock: .venv/dev ### pin the newest versions that pyproject.toml allows, for each Python of its classifiers
	echo '$(ONE)' | $(BIN)/uv pip compile $(LOCK) --upgrade -c - -o requirements.lock pyproject.toml
	$(BIN)/uv pip compile $(LOCK) --upgrade --extra calls -c requirements.lock -o requirements-calls.lock pyproject.toml
	$(BIN)/uv pip compile $(LOCK) --upgrade --extra dev -c requirements-calls.lock -o requirements-dev.lock pyproject.toml

ONE := python-dateutil<3# of botocore, so that all files have one version
LOCK := -q --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-header --no-annotate

clean: ## remove all generated files except runs
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

# The environment, in two sizes. Empty files record when it was installed from a lock file.
.venv/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Realtime Bench needs Python 3.11 to 3.14: make PYTHON=python3.13 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "This Python has no venv. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	@touch $@

# A lock file names all packages, and Python compiles a module when it first imports it: most are never imported.
LOCKED := $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps --no-compile

.venv/run: requirements.lock pyproject.toml setup.py | .venv/pip
	@echo "Installing $$(grep -c == requirements.lock) packages into .venv: about a minute ..."
	@$(MAKE) --no-print-directory -j 2 .venv/locked .venv/itself # one core unpacks, the other compiles
	@touch $@

.venv/locked: requirements.lock
	$(LOCKED) -r $<
	@touch $@

.venv/itself: export PIP_NO_COMPILE = 0# no bytecode of setuptools and Cython, which pip installs for one build; it reads 0 as --no-compile
.venv/itself: pyproject.toml setup.py
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

.venv/dev: requirements-dev.lock .venv/run
	$(LOCKED) -r requirements-dev.lock
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -c "import $(IMPORTED)"
	@touch $@

# Where Python writes no bytecode, as in containers, each command would compile these again: two thirds of its time.
IMPORTED := bench.load.run_files, rtbench.cli.quickstart, rtbench.cli.verdicts, reports.analysis.check.check, \
	reports.analysis.comparisons.comparison, reports.pages.check.report, reports.pages.comparisons.page, \
	reports.pages.run_report.report, reports.render.terminal, bench.record.finalize, scipy.optimize
