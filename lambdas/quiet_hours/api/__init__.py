"""The APIs of the functions that have a Function URL: their requests and answers."""
