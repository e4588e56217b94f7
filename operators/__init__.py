"""The commands of operators. The same code works on the embedded AWS and on a real account."""
