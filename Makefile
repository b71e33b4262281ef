# Everything a contributor or a curious stranger needs. Python >= 3.11, make and a package index are enough.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test check style docs faults gpu audit clean

DEMO_WEIGHTS := demo-data/tf_efficientnet_lite0/model.safetensors

# Installs; adapts real ImageNet weights to 400 real solar cells; then groups, searches and finds defects. Five minutes.
demo: $(INSTALLED) $(DEMO_WEIGHTS)
	$(BIN)/python demo/demo.py

$(DEMO_WEIGHTS): demo/prepare.py | $(INSTALLED)
	$(BIN)/python demo/prepare.py --out demo-data
	touch $@

# Installs; passes the tests. Python keeps them compiled, whatever the shell says: pytest's own compiler takes seconds.
test: $(INSTALLED)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

# What a change has to pass: style and types, the tests, then the variants of them that are left out above.
check: style test
	$(BIN)/python -m pytest -m slow

# The pages of docs/ as a site in site/, with the references made from the code; every link is checked, no network.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html; its search needs a server: $(BIN)/python -m http.server -d site"

# Kills, full disks, two writers, damaged files: all of what the tests above take a sample of. About half an hour.
faults: $(INSTALLED)
	$(BIN)/python -m pytest -m "slow or not slow" tests/faults tests/data/test_limits.py

# On a machine with a GPU: every command once and one table of speeds, in under four minutes; then the tests that need
# a GPU. Without a network, `make gpu GPU_PYTHON=python3` takes a Python that has torch, the other dependencies and pytest.
gpu: $(if $(GPU_PYTHON),,$(INSTALLED))
	PYTHONPATH="$(CURDIR):$$PYTHONPATH" $(or $(GPU_PYTHON),$(BIN)/python) benchmarks/gpu.py
	PYTHONPATH="$(CURDIR):$$PYTHONPATH" $(or $(GPU_PYTHON),$(BIN)/python) -m pytest -m gpu tests/device

# Known weaknesses of the installed packages, from the advisories of the package index; a package that it does not know
# ends it, since what was not looked up is not clean. Local builds, such as torch's +cpu, stand there by their version.
audit: $(INSTALLED)
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/python -m pip list --format=freeze --exclude-editable | sed 's/+.*//' | \
		$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement /dev/stdin

style: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(INSTALLED): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("dinocli needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[demo,dev,docs]"
	touch $@

clean:
	rm -rf $(VENV) demo-data demo-results dist build site .pytest_cache .mypy_cache .ruff_cache
