# Works on a fresh machine that has make and a Python between 3.10 and 3.13.
# Every target sets up what it needs; a second run installs nothing.

# Idle OpenMP threads would spin on the cores that the next operation needs.
export OMP_WAIT_POLICY ?= PASSIVE

SUPPORTED := import sys, ensurepip, venv; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for name in python3.12 python3.11 python3.13 python3.10 python3 python; do \
	$$name -c '$(SUPPORTED)' >/dev/null 2>&1 && echo $$name && break; done)
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-vllm test-replicas check bench peers soak serve forms audit constraints clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

demo: $(INSTALLED) ## Run every block on the embedded model
	.venv/bin/gemma4-block demo

# Two processes, because each loads models and servers of its own; a file's tests share theirs.
test: $(INSTALLED) ## Run the tests
	.venv/bin/pytest --numprocesses=2 --dist=loadfile

test-vllm: $(INSTALLED) .venv-vllm/.installed ## Compare answers with those of vLLM; installs it first, 6 GB
	.venv/bin/pytest --capture=no tests/parity

test-replicas: $(INSTALLED) .venv-vllm/.installed .venv-router/.installed ## Kill one of two servers of vLLM under load; installs what is missing
	.venv/bin/pytest --capture=no tests/replicas

check: $(INSTALLED) ## Check format, lint, types, import lines, spelling and docstrings
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/codespell
	.venv/bin/pydoclint --quiet gemma4_block

bench: $(INSTALLED) ## Time the engine beside its peers; takes less than an hour
	.venv/bin/python -m tests.benchmarks.speed --minutes 50 --output bench-output \
		--converted bench-output/converted \
		$(if $(wildcard .venv-vllm/.installed),--vllm-python .venv-vllm/bin/python) \
		$(if $(wildcard .venv-openvino/.installed),--openvino-python .venv-openvino/bin/python) \
		$(if $(wildcard .venv-llama/.installed),--llama .venv-llama/source --llama-python .venv-llama/bin/python)

peers: .venv-vllm/.installed .venv-openvino/.installed .venv-llama/.installed ## Install the other engines that bench then times; 12 GB, and half an hour

soak: $(INSTALLED) ## Ask a server everything at once for twenty minutes
	.venv/bin/python -W ignore -m tests.soak

serve: $(INSTALLED) ## Serve workflows over HTTP on this machine
	.venv/bin/gemma4-block serve

forms: $(INSTALLED) ## Draw the forms of the blocks anew, into docs/forms
	.venv/bin/python -m tests.forms

audit: $(INSTALLED) ## Check licences and known vulnerabilities of what the wheel needs, and the tree for secrets
	.venv/bin/python -m tests.audit

# A release that is younger than a week may still be withdrawn.
constraints: .venv/bin/uv ## Write constraints.txt anew from pyproject.toml
	.venv/bin/uv pip compile --quiet --upgrade --exclude-newer '1 week' --universal --python-version 3.10 \
		--no-annotate --no-header --no-emit-index-url --no-emit-find-links \
		--group dev --output-file constraints.txt pyproject.toml

clean: ## Remove the environment and everything that tools leave behind
	rm -rf .venv .venv-llama .venv-openvino .venv-router .venv-vllm bench-output .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt | .venv/bin/uv
	.venv/bin/uv pip install --python .venv/bin/python --constraint constraints.txt --editable . --group dev
	@touch $@

# vLLM needs other versions of what the host pins.
.venv-vllm/.installed: tests/parity/requirements.txt tests/parity/overrides.txt | .venv/bin/uv
	.venv/bin/uv venv --python $(PYTHON) --clear .venv-vllm
	.venv/bin/uv pip install --python .venv-vllm/bin/python --override tests/parity/overrides.txt \
		--requirement tests/parity/requirements.txt
	@touch $@

# OpenVINO's exporter needs an older transformers than the host.
.venv-openvino/.installed: tests/benchmarks/openvino.txt | .venv/bin/uv
	.venv/bin/uv venv --python $(PYTHON) --clear .venv-openvino
	.venv/bin/uv pip install --python .venv-openvino/bin/python --requirement tests/benchmarks/openvino.txt
	@touch $@

# llama.cpp publishes no source on a registry; this package of npm carries a git bundle of it. Built here, it
# uses all that this processor can do.
.venv-llama/.installed: tests/benchmarks/llama.txt | .venv/bin/uv
	.venv/bin/uv venv --python $(PYTHON) --clear .venv-llama
	.venv/bin/uv pip install --python .venv-llama/bin/python --requirement tests/benchmarks/llama.txt
	cd .venv-llama && npm pack --silent node-llama-cpp@3.22.1 && tar xzf node-llama-cpp-3.22.1.tgz
	git clone --quiet .venv-llama/package/llama/gitRelease.bundle .venv-llama/source
	cmake -S .venv-llama/source -B .venv-llama/source/build -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
		-DGGML_NATIVE=ON -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_OPENSSL=OFF
	cmake --build .venv-llama/source/build --target llama-server llama-quantize --parallel $$(nproc)
	@touch $@

# What stands before several servers is a program of its own.
.venv-router/.installed: tests/replicas/requirements.txt | .venv/bin/uv
	.venv/bin/uv venv --python $(PYTHON) --clear .venv-router
	.venv/bin/uv pip install --python .venv-router/bin/python --requirement tests/replicas/requirements.txt
	@touch $@

.venv/bin/uv:
	@test -n '$(PYTHON)' || { \
		echo 'No usable Python found: this project needs Python 3.10, 3.11, 3.12 or 3.13 with the venv and'; \
		echo 'ensurepip modules. On Debian and Ubuntu: apt-get install python3-venv. Or name one that is not'; \
		echo 'on the PATH: make PYTHON=/path/to/python3.12'; \
		exit 1; } >&2
	@$(PYTHON) -c '$(SUPPORTED)' || { \
		echo '$(PYTHON) cannot be used: this project needs Python 3.10 to 3.13 with the venv and ensurepip'; \
		echo 'modules. On Debian and Ubuntu: apt-get install python3-venv'; \
		exit 1; } >&2
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet uv
