"""The methods: plain PyTorch on top of the platform."""
