"""The simulation itself: its nights, its planted bugs, its model of AWS."""
