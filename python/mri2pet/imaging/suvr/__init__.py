"""Regions and the reference that SUVR is scaled by."""
