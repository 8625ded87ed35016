PYTHON ?= python3
BIN := .venv/bin
# A Python that was asked for replaces a .venv of another one.
ENVIRONMENT = command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is missing: install Python 3.10 or newer \
	(apt-get install python3 python3-venv), or name another, as PYTHON=python3.12 make demo" >&2; exit 2; }; \
	$(PYTHON) tools/environment.py $(if $(filter file,$(origin PYTHON)),,--python-chosen)

.PHONY: demo test test-long docs environment environment-test environment-docs

demo: environment
	$(BIN)/python train.py -m experiment=recall hydra/launcher=joblib
	$(BIN)/python analyze.py sweep=outputs/recall

test: environment-test
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/pyright
	$(BIN)/pytest -m "not long" -n 2 --dist worksteal

test-long: environment-test
	$(BIN)/pytest -m long

docs: environment-docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

environment:
	@$(ENVIRONMENT)

environment-test:
	@$(ENVIRONMENT) --extras test

environment-docs:
	@$(ENVIRONMENT) --extras docs
