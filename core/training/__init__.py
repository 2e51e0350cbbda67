"""One training loop for every job: checkpoints, optimizers, several processes."""
