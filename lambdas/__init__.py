"""The functions, one file each: producer, campaign, consumer, scheduler, worker, registrar and alerter."""
