"""The diffusion process: its schedule, the training objective, the samplers and their loop."""
