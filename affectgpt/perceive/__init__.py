"""Pixels and samples become tracks: one Protocol a modality, its backends beside it."""
