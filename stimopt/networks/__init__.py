"""The networks that are asked: what any of them offers, and where they come from."""
