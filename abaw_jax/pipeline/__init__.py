"""Windows of samples, the order of their batches, and the batches (Grain)."""
