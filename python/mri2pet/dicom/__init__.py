"""DICOM: a T1 series in, the synthetic PET out.

`collect` (files to series), `select` (series to the T1), `stack` (the T1 to a volume), and
`reading` over the three; `write` and `report` (a result to instances). Importing this package
imports no pydicom; its modules do so when they are called.
"""
