"""Scenes with their signals: the rows of instruction data beside the features that adapters read, under conditions."""
