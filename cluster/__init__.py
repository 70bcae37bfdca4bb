"""Where work is placed, retried and driven: Ray, and the commands that use it."""
