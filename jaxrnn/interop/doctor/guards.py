"""Files that do not leave the final state of an empty row to the runtime."""

from jaxrnn.interop.doctor.graphs import Scope
from jaxrnn.interop.doctor.recurrent import Recurrent

_RESHAPED = ("Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose")


def guarded(node: Recurrent) -> bool:
    """Whether Y_h and Y_c are read only where the length of a row is not 0.

    It is so where each goes into a `Where(lengths == 0, another state, Y_h)`, as
    `to_onnx` writes it.
    """
    names = [name for name in node.outputs[1:] if name]
    lengths = str(node.lengths)
    return all(_asked(node.place.scope, name, lengths) for name in names)


def _asked(scope: Scope, name: str, lengths: str) -> bool:
    for reader in scope.readers(name):
        if reader is not None and reader.op_type in _RESHAPED:
            asked = all(_asked(scope, output, lengths) for output in reader.output)
        else:
            asked = (
                reader is not None
                and reader.op_type == "Where"
                and name == reader.input[2]
                and _is_empty(scope, reader.input[0], lengths)
            )
        if not asked:
            return False
    return True


def _is_empty(scope: Scope, name: str, lengths: str) -> bool:
    """Whether a name is `lengths == 0`, perhaps with another axis."""
    maker = scope.makers.get(name)
    while maker is not None and maker.op_type in ("Expand", "Reshape", "Unsqueeze"):
        maker = scope.makers.get(maker.input[0])
    if maker is None or maker.op_type != "Equal" or lengths not in maker.input:
        return False
    others = [scope.constant(i) for i in maker.input if i != lengths]
    return all(other is not None and not other.any() for other in others)
