"""Class-conditional diffusion models: networks, schedules, losses, the sanitiser of output gradients, and a teacher that answers."""
