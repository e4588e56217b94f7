"""What people run on their machine: the commands of operators, of the demo and of `make`."""
