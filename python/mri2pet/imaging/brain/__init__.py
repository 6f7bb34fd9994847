"""Finding the brain: starts, registration, bias field, extraction, masks, and checks of them."""
