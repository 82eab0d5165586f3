"""What a model does on held-out pairs and prompts."""
