"""What every method runs on: the loop, the run, its stages, checkpoints and outcome."""
