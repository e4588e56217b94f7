"""A source with a schedule of its own: at 10:00 each seller gets a digest of the orders since yesterday at 10:00."""
