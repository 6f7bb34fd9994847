"""From a scan on disk to model space and back.

Five rooms, each of which uses only those before it: `space` (geometry), `files` (reading and
refusing), `brain` (finding the brain), `suvr` (what a PET is scaled by) and `pet` (PET images);
on top `pipeline` (a T1 in one call) and `prepared_files` (what is written of it).
"""
