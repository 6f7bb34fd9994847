"""A whole study from one file: its plan, its run, its page."""
