"""The rule, the formats, the stores, the channels and the handlers, on moto."""
