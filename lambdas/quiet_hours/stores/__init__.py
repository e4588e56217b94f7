"""The stores: queues, ledger, consents and held records, as AWS keeps them."""
