"""Where messages go: notification services and signed webhooks, each delivered once."""
