"""What six runtimes do with recurrent nodes, as data: measured, not read.

A rule says for one feature of a node which runtimes do not compute it as ONNX's
specification says, as onnxruntime, where it runs, does in nearly every case.
"""

from jaxrnn.interop.doctor.effects import Rule
from jaxrnn.interop.doctor.equations import EQUATIONS
from jaxrnn.interop.doctor.notation import NOTATION

RULES: tuple[Rule, ...] = (*EQUATIONS, *NOTATION)
