"""How sure the samples are, measured on people with a PET, and intervals that hold."""
