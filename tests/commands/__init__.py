"""The commands that people run on their machine: of operators, of the demo and of `make`."""
