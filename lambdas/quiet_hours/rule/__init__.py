"""The rule decides whether a notification may go out now. It knows no AWS, no clock and no environment."""
