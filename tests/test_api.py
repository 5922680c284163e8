"""Every public function of the ground floor is documented, typed and exemplified."""

import doctest
import inspect
import re

import pytest

from abaw_jax import concordance, losses, masking, metrics, reversal, swapped
from abaw_jax.evaluation import batch_means

MODULES = (batch_means, concordance, losses, masking, metrics, reversal, swapped)


def public_functions():
    """Yields ``pytest.param(function)`` for functions and methods defined here."""
    for module in MODULES:
        for name, member in vars(module).items():
            if name.startswith("_") or getattr(member, "__module__", "") != (
                module.__name__
            ):
                continue
            if inspect.isfunction(member):
                yield pytest.param(member, id=f"{module.__name__}.{name}")
            elif inspect.isclass(member):
                yield from public_methods(member)


def public_methods(owner):
    for name, member in vars(owner).items():
        function = getattr(member, "__func__", member)
        # A dataclass or named tuple brings generated methods, written in no file.
        written_here = inspect.isfunction(function) and function.__module__ == (
            owner.__module__
        )
        if written_here and not name.startswith("_"):
            yield pytest.param(function, id=f"{owner.__qualname__}.{name}")


FUNCTIONS = list(public_functions())


def parameters(function):
    named = inspect.signature(function).parameters
    return [p for name, p in named.items() if name not in ("self", "cls")]


def test_the_walk_finds_the_promised_names():
    promised = {
        losses: (
            "ccc ccc_loss expression_loss action_unit_loss soft_expression_loss "
            "soft_action_unit_loss masked_sum_and_count masked_mean"
        ),
        metrics: "challenge_scores chance_scores expression_one_hot",
        reversal: "gradient_reversal",
    }
    found = {param.values[0] for param in FUNCTIONS}
    for module, names in promised.items():
        assert {getattr(module, name) for name in names.split()} <= found
    for state in (metrics.Concordance, metrics.F1):
        for name in ("empty", "from_batch", "merge", "compute"):
            assert getattr(getattr(state, name), "__func__", getattr(state, name)) in (
                found
            )


@pytest.mark.parametrize("function", FUNCTIONS)
def test_docstring_names_every_argument_and_the_result(function):
    documentation = inspect.getdoc(function)
    assert documentation is not None
    summary = documentation.partition("\n")[0]
    assert re.fullmatch(r"[A-Z].*\.", summary), summary
    assert "Returns:" in documentation
    if parameters(function):
        assert "Args:" in documentation
    for parameter in parameters(function):
        assert re.search(rf"^ +\*{{0,2}}{parameter.name}: ", documentation, re.M)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_everything_is_annotated(function):
    annotations = inspect.get_annotations(function)
    assert "return" in annotations
    for parameter in parameters(function):
        assert parameter.name in annotations


# Two short signatures of the design take their one option by position.
POSITIONAL_OPTIONS = {"masked_sum_and_count", "masked_mean", "gradient_reversal"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_options_are_keyword_only(function):
    for parameter in parameters(function):
        if parameter.default is not parameter.empty:
            keyword = parameter.kind is parameter.KEYWORD_ONLY
            assert keyword or function.__name__ in POSITIONAL_OPTIONS


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_mask_is_called_where_and_a_key_is_called_key(function):
    forbidden = {"mask", "masks", "weights", "rng", "seed", "y_true", "y_pred"}
    assert not forbidden & {parameter.name for parameter in parameters(function)}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples_run_as_printed(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("function", [f for f in FUNCTIONS if "loss" in f.id])
def test_every_loss_has_an_example_and_a_reference(function):
    documentation = inspect.getdoc(function) or ""
    assert ">>>" in documentation
    if function.__name__.endswith("_loss"):
        assert "References:" in documentation
