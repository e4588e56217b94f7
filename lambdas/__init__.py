"""The pipeline: producer, consumer, scheduler and worker, one file each."""
