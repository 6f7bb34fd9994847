"""Numbers of PET volumes: means over an atlas, a cortical composite, Centiloid, status."""
