"""The demo: an evening of a shop, played through quiet hours on the embedded AWS and counted at the receiver."""
