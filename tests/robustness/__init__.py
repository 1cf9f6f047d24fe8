"""Breaking stimopt on purpose."""
