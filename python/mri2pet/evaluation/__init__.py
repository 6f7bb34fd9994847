"""How good synthetic PETs are: image metrics, SUVR, intervals, rivals and tables."""
