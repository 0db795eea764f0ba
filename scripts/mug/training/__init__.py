"""What goes around a training: checks before it, its speed, its diagnosis, its model card."""
