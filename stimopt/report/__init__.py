"""Pages and tables people read."""
