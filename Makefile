# Each target makes the environment that it needs, once, in $(VENV).
#   make test PYTHON=python3.12 VENV=/tmp/venv

PYTHON ?= python3
VENV ?= .venv

.PHONY: demo train-demo test lint clean
.DELETE_ON_ERROR:

demo: $(VENV)/.core
	$(VENV)/bin/python -m demo

# TRAINING=--steps=20 trains and streams shortly, to see that it runs.
train-demo: $(VENV)/.train
	$(VENV)/bin/python -m demo train $(TRAINING)

test: $(VENV)/.test
	$(VENV)/bin/python -m pytest

lint: $(VENV)/.test
	$(VENV)/bin/ruff check .

# The environment stays, and so does what the programs made.
clean:
	rm -rf build dist vidregen_jax.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.*' -prune -exec rm -rf {} +

$(VENV)/.core: EXTRAS =
$(VENV)/.train: EXTRAS = [train]
$(VENV)/.test: EXTRAS = [test]
$(VENV)/.core $(VENV)/.train $(VENV)/.test: setup.py | $(VENV)/bin/pip
	$(VENV)/bin/python -m pip install --quiet --editable '.$(EXTRAS)'
	touch $@

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("error: $(PYTHON) is Python %d.%d and 3.11 is the oldest that works; name a newer one: make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
