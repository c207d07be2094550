# make demo    set up .venv, score the bundled photographs and re-render one of them
# make test    set up .venv and run all tests
# make test-notebooks   run the notebooks as tests
# make check   lint, format, types, imports between rooms, documentation
# make coverage   all tests, and which lines they run
# make docs      build the documentation in site/
# make format    what the linter and the formatter can mend
# make notebooks   run the notebooks again and keep their outputs
# make preset DATA=folder   train a ResNet50 preset of your own from scratch, hours; the released
#                preset is made by `qdnet-keras teach`, see docs/train.md
# make released-scores   after new weights: what the tests expect of the preset
# make clean     remove the environment and what was built

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-notebooks coverage check docs format preset released-scores notebooks clean

demo: $(VENV)/run.stamp
	$(BIN)/qdnet-keras demo --out demo --force

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-notebooks: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m notebook

coverage: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term

check: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy qdnet_keras scripts
	$(BIN)/lint-imports
	$(BIN)/python scripts/cli_reference.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs: $(VENV)/dev.stamp
	$(BIN)/python scripts/cli_reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

preset: $(VENV)/run.stamp
	$(BIN)/qdnet-keras train --data $(DATA) --out runs/start --resume \
	    --config scratch --set 'model.picture_statistics=[]'
	$(BIN)/qdnet-keras train --data $(DATA) --out runs/joined --resume \
	    --config refine --set train.init=runs/start/preset \
	    --set train.score_steps=0 --set train.freeze=encoder \
	    --set train.epochs=5 --set train.steps_per_epoch=400 \
	    --set 'model.picture_statistics=[tonal]' --set model.dropout=0.3 --set model.statistics_dropout=0.5 \
	    --set loss.kl_warmup=0.05 --set loss.cycle=0.5 --set loss.cycle_start=0.25
	$(BIN)/qdnet-keras train --data $(DATA) --out runs/refined --resume \
	    --config refine --set train.init=runs/joined/preset

released-scores: $(VENV)/run.stamp
	$(BIN)/python scripts/released_scores.py

notebooks: $(VENV)/dev.stamp
	$(BIN)/python scripts/run_notebooks.py

clean:
	rm -rf $(VENV) demo site

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; run make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/dev.stamp: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/run.stamp
