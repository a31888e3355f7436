"""Builders and filters that make InstructionExample rows, with a data card."""
