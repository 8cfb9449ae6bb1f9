"""Episodes in, policies out: the Megatron-Core job that improves the served policy while it is being used."""
