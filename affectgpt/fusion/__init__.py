"""Frames and samples become soft tokens: encoders, adapters that fuse them, and the splice into a prompt.

torch is imported by the modules that need it, never by this package itself.
"""
