"""The notification: its schema, its addresses, its label, its JSON, and the bundle that carries it."""
