"""Geometry: volumes and grids, resampling, the template, and the record of the way back."""
