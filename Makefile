PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-long lint
.DELETE_ON_ERROR:

demo: .venv/installed
	$(BIN)/python train.py -m experiment=digits
	$(BIN)/python analyze.py sweep=outputs/digits

test: .venv/installed-test
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/pyright
	$(BIN)/pytest -m "not long" -n 2 --dist loadfile

test-long: .venv/installed-test
	$(BIN)/pytest -m long

.venv/installed: pyproject.toml
	@echo "Installing aelle into .venv: a minute or two, once."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/installed-test: .venv/installed
	@echo "Installing the test tools into .venv."
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[test]"
	@touch $@
