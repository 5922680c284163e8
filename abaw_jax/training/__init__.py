"""Training: state, compiled rounds, curriculum, sharding, checkpoints and the loop."""
