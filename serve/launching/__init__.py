"""vLLM as a child process: its command, its weights, its life."""
