"""Training of the adapters and the appraisers: from rows to an adapter folder with a manifest."""
