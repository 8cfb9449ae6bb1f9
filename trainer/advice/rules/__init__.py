"""Rules that find compositions which would waste a run, before it starts."""
