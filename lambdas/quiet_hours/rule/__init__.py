"""The rule: may this notification go out now? Nothing here knows AWS, a clock or the environment."""
