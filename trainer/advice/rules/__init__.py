"""What would waste a run: the rules by which a composition is judged before it runs, and what they find."""
