"""What the functions behind a Function URL answer."""
