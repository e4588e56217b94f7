"""The synthesised stack, and the asset that its functions run."""
