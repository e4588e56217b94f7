"""A recommendation worker on a FIFO queue (docs/fifo.md)."""
