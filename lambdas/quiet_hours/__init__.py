"""The code that the functions share, in rooms by purpose. Arrows between the rooms go one way."""
