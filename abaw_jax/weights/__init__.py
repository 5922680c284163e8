"""Public weights, read into the variables of `abaw_jax.models`."""

from abaw_jax.weights.loading import load_image_encoder, load_soundnet, save_variables

__all__ = ["load_image_encoder", "load_soundnet", "save_variables"]
