# Two commands are enough: `make demo` and `make test`. Each sets up what it needs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SMALL_MODEL := smollm2-135m-instruct

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_NO_INPUT = 1

CLIENTS := .venv-clients
DOCS := .venv-docs

.PHONY: demo test test-clients test-engines check format bench docs site recording pictures lock clean

demo: $(READY)  ## The main job on real models; FULL=1 adds the 1.5B candidate.
	@$(BIN)/changeover sandbox >/dev/null
	@$(BIN)/changeover demo $(if $(FULL),--full)

test: $(READY)  ## All tests, the real small model and the sandbox included.
	@scripts/postgres.sh
	@scripts/chromium.sh
	@$(BIN)/changeover sandbox >/dev/null
	@$(BIN)/changeover pull $(SMALL_MODEL) >/dev/null
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(PYTEST)

test-clients: $(READY) $(CLIENTS)/.ready  ## Real clients, unchanged, against a gateway of their own.
	$(CLIENTS)/bin/python -m pytest tests/clients $(PYTEST)

test-engines: $(READY)  ## Real engines, each in an environment of its own; ENGINES="openvino ray" for these alone.
	@mkdir -p .venv-engines && echo '*' >.venv-engines/.gitignore
	@$(BIN)/python -m tests.engines.setup $(ENGINES)
	CHANGEOVER_LOADS=docs/data/loads.json $(BIN)/python -m pytest tests/engines -p no:cacheprovider -v --durations=10 \
	  $(addprefix --engine=,$(ENGINES)) $(PYTEST)

check: $(READY)  ## Style, types, and the directions of imports.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --level error
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## Every benchmark, quick; `python -m benchmarks.NAME` for one, whole.
	$(BIN)/python -m benchmarks.switch --quick
	$(BIN)/python -m benchmarks.fit --quick
	$(BIN)/python -m benchmarks.documents --quick
	$(BIN)/python -m benchmarks.evidence --quick
	$(BIN)/python -m benchmarks.rollouts --quick
	$(BIN)/python -m benchmarks.evals --quick
	$(BIN)/python -m benchmarks.serving --quick
	$(BIN)/python -m benchmarks.gateway --quick
	$(BIN)/python -m benchmarks.console --quick

docs: $(READY)  ## Write the generated pages anew, then build the site.
	$(BIN)/python -m docs.generate
	@$(MAKE) --no-print-directory site

site: $(DOCS)/.ready  ## The pages as a site: site/index.html, which needs no server. A warning, or a link that leads nowhere, ends it.
	$(DOCS)/bin/python -m sphinx --quiet --nitpicky --fail-on-warning --keep-going --jobs auto --conf-dir docs/sphinx . site
	$(DOCS)/bin/python docs/sphinx/links.py site

recording: $(READY)  ## Record the switch in the README anew; needs the extra `recording`.
	$(BIN)/python -m docs.record

pictures: $(READY)  ## Take the console's pictures in the docs anew; a page that was changed on purpose needs it.
	$(BIN)/python -m docs.pictures

lock: $(READY)  ## Compile requirements.txt anew from pyproject.toml.
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/python -m piptools compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url \
	  --no-emit-trusted-host --no-emit-find-links --no-header \
	  --extra demo --extra dev --extra import --extra japanese --extra similarity \
	  --extra postgres --extra telemetry --extra bom --extra prices --extra modelscope \
	  --extra documents --extra ocr --extra mcp --extra console \
	  --output-file requirements.txt pyproject.toml
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' \
	  | $(BIN)/python -m piptools compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url \
	  --no-emit-trusted-host --no-emit-find-links --no-header --output-file docs/sphinx/requirements.txt -

# Everything that can change what is installed is a prerequisite, so that a stale environment mends itself.
$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Changeover needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.11"; exit 2; }
	@echo "setting up $(VENV) (once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.txt 2>$(VENV)/pip.log \
	  || { cat $(VENV)/pip.log; exit 1; }
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable . 2>$(VENV)/pip.log \
	  || { cat $(VENV)/pip.log; exit 1; }
	@$(BIN)/python -m compileall -q src
	@$(BIN)/changeover --version
	@touch $@

$(DOCS)/.ready: docs/sphinx/requirements.txt
	@echo "setting up $(DOCS) (once)"
	@test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS)
	@$(DOCS)/bin/python -m pip install --quiet --require-hashes --requirement $< 2>$(DOCS)/pip.log || { cat $(DOCS)/pip.log; exit 1; }
	@touch $@

$(CLIENTS)/.ready: tests/clients/requirements.txt tests/clients/constraints.txt tests/clients/node/package.json
	@test -x $(CLIENTS)/bin/python || $(PYTHON) -m venv $(CLIENTS)
	@$(CLIENTS)/bin/python tests/clients/install.py
	@touch $@

clean:
	rm -rf $(VENV) $(CLIENTS) $(DOCS) site .venv-engines .pytest_cache .ruff_cache .hypothesis
