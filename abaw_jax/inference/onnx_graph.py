"""An ONNX graph that grows node by node; needs the package onnx.

Operators are those of ONNX's set 17, which onnxruntime reads since 1.12 (2022).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from jax import ShapeDtypeStruct
from onnx import TensorProto, helper, numpy_helper

from abaw_jax.inference.network_parts import BATCH

_OPERATORS, _IR_VERSION = 17, 8

Input = str | np.ndarray | np.generic
"""Of a node: the name of another value, or a constant."""


class Graph:
    """Nodes in the order in which they are computed, and their constants."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[TensorProto] = []

    def add(self, operator: str, *inputs: Input, **attributes: Any) -> str:
        """Adds a node.

        Args:
          operator: of ONNX.
          *inputs: names of the graph's inputs or of other nodes' outputs; constants.
          **attributes: of the operator.

        Returns:
          The name of its first output.
        """
        names = [each if isinstance(each, str) else self._keep(each) for each in inputs]
        name = f"{operator}_{len(self._nodes)}"
        node = helper.make_node(operator, names, [name], name, **attributes)
        self._nodes.append(node)
        return name

    def rename(self, output: str, name: str) -> None:
        """Names an output, as outputs of the graph have to be named."""
        self._nodes.append(helper.make_node("Identity", [output], [name]))

    def serialize(
        self,
        name: str,
        inputs: Mapping[str, ShapeDtypeStruct],
        outputs: Mapping[str, ShapeDtypeStruct],
    ) -> bytes:
        """The content of an ``.onnx`` file.

        Args:
          name: of the graph.
          inputs: shapes and types of one row by name; there may be any number of rows.
          outputs: likewise.
        """
        graph = helper.make_graph(
            self._nodes, name, _declare(inputs), _declare(outputs), self._constants
        )
        opset = helper.make_opsetid("", _OPERATORS)
        model = helper.make_model(
            graph,
            opset_imports=[opset],
            ir_version=_IR_VERSION,
            producer_name="abaw_jax",
        )
        onnx.checker.check_model(model)
        return model.SerializeToString()

    def _keep(self, array: np.ndarray | np.generic) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name


def _declare(arrays: Mapping[str, ShapeDtypeStruct]) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(row.dtype), [BATCH, *row.shape]
        )
        for name, row in arrays.items()
    ]
