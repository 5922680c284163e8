"""Names the environment variable that keeps JAX from being imported or started.

This module does not import JAX: the import itself fails if a variable is wrong.
"""

import os

_PLATFORMS = "JAX_PLATFORMS"
_ALLOWED = {"JAX_DEFAULT_MATMUL_PRECISION": "highest, high or default"}


def environment_fault(error: BaseException) -> str | None:
    """Names the variable that caused an error of JAX, and says what to do.

    Returns:
      One sentence without a full stop; None if the error has another cause.
    """
    platforms = os.environ.get(_PLATFORMS)
    if platforms and _is_of_platforms(error):
        return (
            f"the environment variable {_PLATFORMS} is {platforms!r}, and JAX finds no "
            "such device on this machine: unset it to use the devices that are there, "
            "or set it to cpu; for a GPU or a TPU JAX needs its driver and its plugin "
            "(pip install abaw_jax[cuda12] or abaw_jax[tpu])"
        )
    if not isinstance(error, ValueError):
        return None
    for name, value in os.environ.items():
        # JAX writes the names of its settings, which are those of the variables.
        if name.startswith("JAX_") and name in str(error).upper():
            allowed = _ALLOWED.get(name, "what JAX's documentation lists")
            if "truth value" in str(error):
                allowed = "true or false"
            return (
                f"the environment variable {name} is {value!r}, which JAX does not "
                f"know: unset it, or set it to {allowed}"
            )
    return None


def _is_of_platforms(error: BaseException) -> bool:
    if not isinstance(error, AssertionError):
        return "Unable to initialize backend" in str(error)
    # JAX only asserts, without a word, that one of the platforms has a device.
    import jax

    try:
        jax.default_backend()
    except AssertionError:
        return True
    return False
