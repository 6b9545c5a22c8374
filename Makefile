# Each target first makes the virtual environment it needs; `make` alone lists them.

# Interpreter of a new environment; empty: the first of CANDIDATES that is new enough.
PYTHON ?=
CANDIDATES = python3.11 python3.12 python3.13 python3
# Another environment beside the usual one: make VENV=.venv312 PYTHON=python3.12 test
VENV ?= .venv
# Further arguments of the command: make test ARGS="-k memory", make demo ARGS=--seed=1
ARGS ?=
LOGDIR ?= runs

RUN = $(VENV)/bin/python
PIP_INSTALL = $(RUN) -m pip install --quiet --no-input --disable-pip-version-check
TYPED = ufnrec_tf configs examples main.py tests benchmarks
MAKEFLAGS += --no-builtin-rules --no-print-directory

.PHONY: help setup demo test test-fast soak lint format docs licences tensorboard bench growth check-gpu clean

help:
	@echo 'make demo         SASRec with and without UFNRec on the embedded data set'
	@echo 'make test         all tests, about 8 minutes on two cores (ARGS="-k memory": those of that name)'
	@echo 'make test-fast    those within a second or two, in a minute and a half'
	@echo 'make soak         the long tests: runs and workers killed at random, minutes (ARGS="--kills=20 --seed=1")'
	@echo 'make lint         ruff and mypy, changing nothing'
	@echo 'make format       ruff, mending what it can'
	@echo 'make docs         the documentation as a site in build/docs'
	@echo 'make licences     docs/licences.md anew, from what is installed'
	@echo 'make tensorboard  curves of all runs  (LOGDIR=runs)'
	@echo 'make bench        speed and memory on real logs, about an hour (ARGS="--data=DIR --repeats=1")'
	@echo 'make growth       how cost grows with users, items, length, negatives, slots'
	@echo 'make check-gpu    on a machine with GPUs: correctness, speed, memory'
	@echo 'make setup        the environment of all of these, without running anything'
	@echo 'make clean        removes environment, caches and packages; keeps runs/'

setup: $(VENV)/.tools
	@echo 'The environment $(VENV) is ready.'

demo: $(VENV)/.packages
	@$(RUN) main.py $(ARGS)

# Three processes on two cores: some tests wait.
test: $(VENV)/.tools
	@$(RUN) -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

test-fast: $(VENV)/.tools
	@$(RUN) -m pytest -m 'not slow' -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

soak: $(VENV)/.tools
	@$(RUN) -m tests.soak.kills $(ARGS)
	@$(RUN) -m tests.soak.workers
	@$(RUN) -m tests.soak.raw_sets
	@$(RUN) -m tests.soak.readers
	@$(RUN) -m tests.soak.one_way
	@$(RUN) -m tests.soak.recommend
	@$(RUN) -m tests.soak.sweep
	@$(RUN) -m tests.soak.serve
	@$(RUN) -m tests.soak.faults
	@$(RUN) -m tests.soak.page

lint: $(VENV)/.tools
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy $(TYPED)

format: $(VENV)/.tools
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

docs: $(VENV)/.tools
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet $(ARGS)
	@echo 'build/docs/index.html is the first page.'

licences: $(VENV)/.tools
	@$(RUN) -m tests.licences

tensorboard: $(VENV)/.packages
	@$(RUN) main.py --mode=board --workdir=$(LOGDIR) $(ARGS)

bench: $(VENV)/.packages
	@$(RUN) -m benchmarks.bench $(ARGS)

growth: $(VENV)/.packages
	@$(RUN) -m benchmarks.growth $(ARGS)

check-gpu: $(VENV)/.packages
	@$(RUN) -m benchmarks.check_gpu $(ARGS)

clean:
	@if [ -e "$(VENV)/pyvenv.cfg" ]; then rm -rf "$(VENV)"; fi
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	@find . -path ./runs -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment that is not there, or whose interpreter has gone, is made anew.
ifneq ($(shell $(RUN) -c 'import pip' >/dev/null 2>&1 && echo works),works)
.PHONY: $(VENV)/.packages
endif

IS_SUPPORTED = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

define make_environment
set -e; \
if $(RUN) -c 'import pip' 2>/dev/null; then \
    echo 'Bringing the packages in $(VENV) up to date; minutes, if many have changed.'; exit 0; \
fi; \
names='$(or $(PYTHON),$(CANDIDATES))'; found=; \
for name in $$names; do \
    if "$$name" -c '$(IS_SUPPORTED)' 2>/dev/null; then found=$$name; break; fi; \
done; \
if [ -z "$$found" ]; then \
    echo "error: Python 3.11, 3.12 or 3.13 is needed, and this is none of them: $$names." >&2; \
    echo '       Install one, or say where it is: make PYTHON=/path/to/python3.11 ...' >&2; \
    exit 1; \
fi; \
if ! "$$found" -c 'import ensurepip, venv' 2>/dev/null; then \
    echo "error: $$found has no venv module; on Debian and Ubuntu: apt install python3-venv" >&2; \
    exit 1; \
fi; \
version=$$("$$found" -c 'import platform; print(platform.python_version())'); \
echo "Making the environment $(VENV) (Python $$version), once:" \
    "about 2 minutes, 750 MB of downloads."; \
rm -rf '$(VENV)'; \
"$$found" -m venv '$(VENV)'
endef

define explain_failure
{ echo 'error: the packages could not be installed; pip says why above (is the package' >&2; \
  echo '       index reached?). The same command resumes from here.' >&2; exit 1; }
endef

$(VENV)/.packages: requirements.txt requirements.lock
	@$(make_environment)
	@$(PIP_INSTALL) -r requirements.txt -c requirements.lock || $(explain_failure)
	@touch $@

$(VENV)/.tools: $(VENV)/.packages requirements-dev.txt
	@echo 'Adding the tools for tests and lint to $(VENV).'
	@$(PIP_INSTALL) -r requirements-dev.txt -c requirements.lock || $(explain_failure)
	@touch $@
