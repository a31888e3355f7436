"""Training the fused path: adapters without labels, adapters to a frozen language model, then both with LoRA."""
