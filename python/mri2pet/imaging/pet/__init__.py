"""A PET image: its frames, its way to the T1, whether it fits, and all of it in one call."""
