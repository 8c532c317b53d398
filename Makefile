# `make demo` and `make test` set up .venv from constraints.txt, once, and then do their job.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
WORKERS ?= 2

.PHONY: demo test lint bench area place mutation sweep sweep-large clean

demo: $(STAMP)
	$(BIN)/intaglio demo

test: lint
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m benchmarks.rtl
	$(BIN)/python benchmarks/networks.py
	$(BIN)/python -m benchmarks.fusion
	$(BIN)/python -m benchmarks.efficientnet
	$(BIN)/python -m benchmarks.minilm
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.precision
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python -m benchmarks.formal
	$(BIN)/python -m benchmarks.host_kernels
	$(BIN)/python -m benchmarks.operators
	$(BIN)/python -m benchmarks.simulation

area: $(STAMP)
	$(BIN)/python benchmarks/area.py

place: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[place]'
	$(BIN)/python benchmarks/place.py

mutation: $(STAMP)
	$(BIN)/python -m benchmarks.mutation

sweep: $(STAMP)
	$(BIN)/python -m benchmarks.sweep

sweep-large: $(STAMP)
	$(BIN)/python -m benchmarks.sweep --large

clean:
	rm -rf $(VENV) build dist src/intaglio.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[rtl,data,photographs,language,search,fast,tvm,onnx,dev]'
	touch $(STAMP)
