"""Episodes in, policies out: the job that improves the served policy while it is being used."""
