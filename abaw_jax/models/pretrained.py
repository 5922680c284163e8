"""The loaders of `abaw_jax.weights` under the name they had before 0.2."""

from abaw_jax.weights.loading import (
    load_image_encoder,
    load_soundnet,
    main,
    save_variables,
)

__all__ = ["load_image_encoder", "load_soundnet", "save_variables"]

if __name__ == "__main__":
    main()
