"""From a release on disk to batches.

``packing.prepare`` reads a release once and writes a store; ``store.open_store`` opens
it; ``windows``, ``items`` and ``pipeline`` cut and feed it. Only ``items`` may import
jax.
"""
