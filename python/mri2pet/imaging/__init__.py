"""From a scan on disk to model space and back.

The parts, in the order in which a scan meets them: `volume` and `reading` (what was
given), `template` (where it goes), `extraction` and `registration` (how it gets there),
`resampling` and `model_space` (the arrays that the model sees), `checks` (whether to
believe them), `record` (the way back) and `pipeline` (all of it in one call).
"""
