"""The model families known by name: one file each, and the registry that compares a chat template with them."""
