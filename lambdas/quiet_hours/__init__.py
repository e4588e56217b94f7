"""What the four functions share: the rule, the notification, the bundle, the ledger, the channels."""
