# Every target prepares `.venv` first; the second time that costs well under three seconds.

# The first Python that runs (a pyenv shim may exist and fail) and is 3.11 or 3.12. `make PYTHON=/path/to/python` wins.
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' >/dev/null 2>&1 && echo "$$p" && break; \
	done)
CLIP ?= examples/astronaut_smile.mp4
PYTEST_ARGS ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup explain serve test test-slow check bench bench-au bench-batch bench-clips bench-dialogue bench-fusion bench-safety bench-serve bench-trends adapter appraisers conformal safety-head vllm vllm-setup

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## prepare .venv, and nothing else
	@py="$(PYTHON)"; if [ -z "$$py" ]; then \
		echo "No Python 3.11 or 3.12 runs here. Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; fi; \
	"$$py" tools/bootstrap.py

explain: setup ## explain a clip: make explain CLIP=path
	@$(BIN)/affectgpt explain "$(CLIP)"

SERVE_ARGS ?=
serve: vllm-setup ## vLLM, the gateway and the chat page: make serve SERVE_ARGS='--port 8000'
	@$(BIN)/affectgpt serve --launch $(SERVE_ARGS)

vllm-setup: setup ## prepare serve/vllm/.venv with vLLM: about 2 GB for a CPU, some 8 GB for CUDA
	@$(BIN)/python serve/vllm/set_up.py

VLLM_ARGS ?=
vllm: vllm-setup ## start vLLM alone with the default model and adapter: make vllm VLLM_ARGS='--port 8000'
	@$(BIN)/python -m serve.launching.foreground $(VLLM_ARGS)

test: setup ## the fast tests
	@$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

test-slow: setup ## the tests that take more than about five seconds each
	@$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

check: setup ## lint, format, types, import contracts, pins, docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/check_docs.py
	$(BIN)/python tools/check_pins.py

bench: setup ## speed and memory, printed as JSON
	@$(BIN)/python tests/bench/bench.py
	@$(BIN)/python tests/bench/bench_appraisers.py
	@$(BIN)/python tests/bench/bench_data.py
	@$(BIN)/python tests/bench/bench_training.py

bench-serve: vllm-setup ## vLLM against transformers and peft, then the gateway under load, printed as JSON
	@$(BIN)/python tests/bench/bench_serve.py
	@$(BIN)/python tests/bench/load_serve.py

bench-batch: setup ## a batch beside its own stages, printed as JSON; needs the shared recordings
	@$(BIN)/python tests/bench/bench_batch.py

bench-fusion: vllm-setup ## soft tokens up to the language model and through it, printed as JSON
	@$(BIN)/python tests/bench/bench_fusion.py
	@$(BIN)/python tests/bench/bench_adapters.py
	@$(BIN)/python tests/bench/bench_splice.py

bench-trends: setup ## how often the intervals of trends hold, printed as JSON; ten minutes of one core
	@$(BIN)/python tests/bench/bench_trends.py

bench-dialogue: setup ## a turn of conversation beside the model, and writer and reader, printed as JSON
	@$(BIN)/python tests/bench/bench_dialogue.py
	@$(BIN)/python tests/bench/bench_perspective.py

bench-safety: setup ## the safety screen's speed, printed as JSON
	@$(BIN)/python tests/bench/bench_safety.py --head

bench-au: setup ## action units against posed emotions, printed as JSON; needs the shared recordings
	@$(BIN)/python tests/bench/bench_au.py

bench-clips: setup ## every shared clip through explain, printed as JSON; needs the shared recordings
	@$(BIN)/python tests/bench/bench_clips.py

ADAPTER_RUN ?= runs/explain
adapter: setup ## rebuild rows and the shipped adapter (about 100 minutes on 2 cores); needs the shared corpora
	$(BIN)/affectgpt data build explain data=../shared/data out=$(ADAPTER_RUN)/data tracks=$(ADAPTER_RUN)/tracks
	$(BIN)/affectgpt finetune smollm2-135m data=$(ADAPTER_RUN)/data out=$(ADAPTER_RUN) name=explain epochs=1.8
	rm -rf $(ADAPTER_RUN)/shipped
	$(BIN)/affectgpt finetune export $(ADAPTER_RUN)/adapter $(ADAPTER_RUN)/shipped dtype=bfloat16
	cp $(ADAPTER_RUN)/shipped/* affectgpt/weights/explain/

CALIBRATION ?= runs/calibration
HEADS := affectgpt/weights/appraisers
conformal: setup ## cut the conformal sets anew after the heads were refitted; needs the shared corpora and recordings
	$(BIN)/python -m finetune.held_out --shared ../shared/data --out runs/held_out
	$(BIN)/affectgpt evaluate examples/suites/calibration.yaml --data ../shared/data --out $(CALIBRATION) --fresh
	$(BIN)/python -m finetune.conformal --voice $(CALIBRATION)/voice --face $(CALIBRATION)/face \
		--speech $(CALIBRATION)/speech-dialogue $(CALIBRATION)/speech-comments --out $(HEADS)/default
	$(BIN)/python -m finetune.conformal --speech $(CALIBRATION)/speech-comments-permissive --out $(HEADS)/permissive

appraisers: setup ## refit the appraisers' heads; needs the shared corpora and recordings
	$(BIN)/python -m finetune.appraisers --shared ../shared/data

safety-head: setup ## retrain the safety screen's head; needs the shared text corpora
	@$(BIN)/python -m finetune.safety_head --shared ../shared/data --open tests/safety_turns_open.toml tests/safety_turns_more.toml
