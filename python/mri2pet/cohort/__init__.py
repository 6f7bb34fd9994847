"""Cohorts: finding pairs in a BIDS folder, splits, the model-space cache and the dataset."""
