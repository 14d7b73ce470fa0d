"""ONNX files out and in: `to_onnx` and `load_onnx`, which need onnx.

onnx is imported when one of them is called.
"""

from typing import TYPE_CHECKING, Any

from jaxrnn.core import Cell

if TYPE_CHECKING:
    import onnx


def _check_installed() -> None:
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise ImportError(
            "to_onnx and load_onnx need onnx: pip install 'jaxrnn[onnx]', or "
            "pip install '.[onnx]' in a clone"
        ) from None


def to_onnx(
    cell: Cell,
    params: Any,
    *,
    batch: int | None = None,
    time: int | None = None,
    lengths: bool = False,
    stream: bool = False,
    initial_carry: bool = False,
    x: Any = None,
    opset: int = 17,
) -> "onnx.ModelProto":
    """A cell and its params as an ONNX file that runs without JAX, in evaluation.

    `elman` with tanh, relu or sigmoid, `gru` and `lstm` become ONNX's own RNN, GRU and
    LSTM, a `projected_lstm` an LSTM and a MatMul, the two directions of a
    `bidirectional` one operator; a half that runs back alone reads its input turned
    around. Any other cell becomes a Scan over its step, `remat` what its cell becomes,
    and what has no memory standard operators, which are found by walking the program
    that JAX traces. All is computed in float32, and where a cell has a `compute_dtype`
    the operands of products are rounded to it.

    The inputs, a batch of sequences:

    - `xs` `[B, T, ...]`, float32, or int32 for tokens;
    - `lengths` `[B]` int32 from 0 to T, if asked for: a sequence's steps from its
      length on are masked, so its outputs are zero there and its final carry is that
      of its last valid step, or the initial one for a length of 0, in every runtime;
    - `memory` `[B, S, M]`, for attentions without a memory of their own, and with
      `lengths` also `memory_lengths` `[B]` int32;
    - `initial_carry.h` and so on, if asked for: a leaf of the carry under its path in
      it, `[B, ...]`.

    The outputs are `ys` `[B, T, ...]` and a `final_carry.h` for each leaf of the carry.
    With `stream` the file is one step: from `x` `[B, ...]` and `carry.h` and so on to
    `y` and `next_carry.h`. The carry of the first step is that of
    `cell.initial_carry(params)`, which the file has in its metadata, in JSON, for one
    sequence.

    Args:
      cell: any.
      params: of the cell.
      batch: B; None for any.
      time: T; None for any from 1 on.
      lengths: whether the file reads the lengths of the sequences.
      stream: whether the file is one step.
      initial_carry: whether the file reads the carry before the first step.
      x: one input, or its `jax.ShapeDtypeStruct`, of a cell that does not tell what it
        reads.
      opset: version of the operators, from 14 to the newest that `onnx` knows.

    Returns:
      The file, to be written by `onnx.save`.

    Raises:
      ImportError: if onnx is not installed.
      ValueError: if an argument does not fit, the cell has no step to stream, or ONNX
        has no operator for a primitive in it; the message names both, the cell and the
        primitive, or the cell that needs its batch and time.

    Example:
      >>> import jax, jaxrnn as rnn
      >>> from jaxrnn import interop
      >>> cell = rnn.chain(rnn.lstm(3, 5), rnn.linear(5, 2))
      >>> model = interop.to_onnx(cell, cell.init(jax.random.key(0)), lengths=True)
      >>> [entry.name for entry in model.graph.input]
      ['xs', 'lengths']
      >>> [entry.name for entry in model.graph.output]
      ['ys', 'final_carry.0.h', 'final_carry.0.c']
    """
    _check_installed()
    from jaxrnn.interop.onnx.export import export_cell

    return export_cell(
        cell, params, batch, time, lengths, stream, initial_carry, x, opset
    )


def load_onnx(model: Any) -> tuple[Cell, Any]:
    """A cell, and its params, that compute what an ONNX file does.

    The file has one or more nodes RNN, GRU or LSTM, one after the other, with what
    exporters write between them: transposes, reshapes, squeezes, casts, dropout. It may
    begin with an embedding (Gather) and have linear layers (Gemm, MatMul and Add),
    activations, layer normalization and sums with the input of some layers. Each
    direction becomes an `elman`, `gru` or `lstm`; what these cannot say, namely other
    activations, clip and peepholes, a cell of its own that follows the specification,
    where `ThresholdedRelu` without an alpha has 1, `Affine` is the identity and
    `ScaledTanh` a tanh. (onnxruntime takes 0 for all three.) In a cell, clip bounds
    what the gates read and spares the C of an LSTM, as in the runtimes that honor it.

    A node of direction reverse becomes a cell without a step, unless it is the second
    half of a `bidirectional`. A constant initial state that is not zero becomes part of
    the params, as in `learned_carry`; one that is an input of the file is the carry
    that you pass to `unroll`; `sequence_lens` that is an input is a mask, `arange(T) <
    length`. An output of the last step, or of the final h of a node that runs forward,
    is `jaxrnn.last(ys, mask)`. The outputs Y_h and Y_c are the carry. Layers on other
    final states, such as those of both directions, read them repeated at each step: the
    cell has no step, takes no `starts`, and its answer is `jaxrnn.last(ys, mask)` too.

    Args:
      model: an `onnx.ModelProto`, or the path of a file.

    Returns:
      The cell and its params.

    Raises:
      ImportError: if onnx is not installed.
      ValueError: if there is no such node, or the file does what no cell says; the
        message names the node, and the attribute or the input with its value.

    Example:
      >>> import jax, jaxrnn as rnn
      >>> from jaxrnn import interop
      >>> cell = rnn.lstm(3, 5)
      >>> model = interop.to_onnx(cell, cell.init(jax.random.key(0)))
      >>> cell, params = interop.load_onnx(model)
      >>> cell
      lstm(3, 5)
    """
    _check_installed()
    from jaxrnn.interop.onnx.load import read_cell

    return read_cell(model)
