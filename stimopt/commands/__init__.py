"""One module for each command, what they share (`options`, `fitting`), and their help texts."""
