"""Fitting of a conversation's small parts: transitions, a strategy policy; and HEF's measurement."""
