"""CfC and LTC of ncps: github.com/mlech26l/ncps."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.cells.cfc import CfCParams, cfc, lecun_tanh
from jaxrnn.cells.ltc import LTCParams, Mapped, Synapses, ltc
from jaxrnn.core import Cell
from jaxrnn.interop.entries import check_choice
from jaxrnn.interop.published.named import CALL, chosen, named
from jaxrnn.layers import LinearParams

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "lecun_tanh": lecun_tanh,
    "silu": jax.nn.silu,
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "gelu": partial(jax.nn.gelu, approximate=False),
}
_BACKBONE = re.compile(r"backbone\.(\d+)\.weight")


def read_cfc(
    arrays: Mapping[str, Any],
    *,
    mode: Literal["default", "no_gate", "pure"] | None = None,
    activation: str = "lecun_tanh",
    timed: bool = False,
    prefix: str = "",
) -> tuple[Cell, CfCParams]:
    """Reads a `CfCCell` without a wiring.

    Args:
      arrays: its state dict.
      mode: None for "pure" where there is a w_tau, else for "default". "no_gate" has
        the same names as "default".
      activation: of the backbone, by its name in ncps.
      timed: whether the inputs of the cell come with their spans.
      prefix: before the names, such as "rnn_cell" for a `CfC`.
    """
    arrays = chosen(arrays, prefix)
    if mode is None:
        mode = "pure" if "w_tau" in arrays else "default"
    check_choice(f"{CALL}: mode", mode, ("default", "no_gate", "pure"))
    check_choice(f"{CALL}: activation", activation, tuple(ACTIVATIONS))
    # Between the layers are activations, and perhaps dropouts, which have numbers too.
    places = sorted(int(m[1]) for m in map(_BACKBONE.fullmatch, arrays) if m)
    layers = [f"backbone.{place}" for place in places]
    pure = mode == "pure"
    heads = ["ff1"] if pure else ["ff1", "ff2", "time_a", "time_b"]
    reads = "P" if layers else "D+H"
    shapes = {f"{head}.weight": f"H {reads}" for head in heads}
    shapes |= {f"{layer}.weight": "P P" for layer in layers[1:]}
    shapes |= {f"{layer}.weight": "P D+H" for layer in layers[:1]}
    shapes |= {f"{layer}.bias": "P" for layer in layers}
    shapes |= {f"{head}.bias": "H" for head in heads}
    shapes |= {"w_tau": "1 H", "A": "1 H"} if pure else {}
    found = named(arrays, shapes)

    def joined(names):
        w = np.concatenate([found[f"{name}.weight"] for name in names]).T
        b = np.concatenate([found[f"{name}.bias"] for name in names])
        return LinearParams(jnp.asarray(w), jnp.asarray(b))

    vectors = [jnp.asarray(found[name][0]) for name in ("w_tau", "A") if pure]
    linear: tuple[Any, ...] = tuple(
        joined(names) for names in [*([layer] for layer in layers), heads]
    )
    hidden = len(found["ff1.bias"])
    cell = cfc(
        len(linear[0].w) - hidden,
        hidden,
        mode=mode,
        backbone_layers=len(layers),
        backbone_units=len(linear[0].b) if layers else 1,
        activation=ACTIVATIONS[activation],
        timed=timed,
        dtype=linear[0].b.dtype,
    )
    return cell, CfCParams(linear, *vectors)


def read_ltc(
    arrays: Mapping[str, Any],
    *,
    motor_size: int | None = None,
    unfolds: int = 6,
    epsilon: float = 1e-8,
    constrained: bool = True,
    timed: bool = False,
    prefix: str = "",
) -> tuple[Cell, LTCParams]:
    """Reads an `LTCCell`, with its wiring.

    Args:
      arrays: its state dict.
      motor_size: where there is no output_w, which tells it; None for all neurons.
      unfolds, epsilon: which the state dict does not hold; the defaults are those of
        ncps, its ode_unfolds and epsilon.
      constrained: its implicit_param_constraints, True for an `LTC`, and by default
        False for an `LTCCell` by itself.
      timed: whether the inputs of the cell come with their spans.
      prefix: before the names, such as "rnn_cell" for an `LTC`.
    """
    arrays = chosen(arrays, prefix)
    shapes = dict.fromkeys(("gleak", "vleak", "cm"), "H")
    for before, rows in (("", "H"), ("sensory_", "D")):
        of_each = ("w", "erev", "mu", "sigma", "sparsity_mask")
        shapes |= {f"{before}{name}": f"{rows} H" for name in of_each}
    mapped = {"input_w": "D", "input_b": "D", "output_w": "P", "output_b": "P"}
    shapes |= {name: size for name, size in mapped.items() if name in arrays}
    found = named(arrays, shapes)

    def wiring(before):
        signs = np.where(found[f"{before}erev"] < 0, -1, 1)
        return np.where(found[f"{before}sparsity_mask"] != 0, signs, 0)

    def synapses(before):
        fields = (found[f"{before}{name}"] for name in Synapses._fields)
        return Synapses(*map(jnp.asarray, fields))

    def mapping(side) -> Mapped:
        if f"{side}_b" in found:
            return "affine"
        return "linear" if f"{side}_w" in found else None

    if "output_w" in found:
        motor_size = len(found["output_w"])
    cell = ltc(
        len(found["sensory_w"]),
        len(found["cm"]),
        motor_size=motor_size,
        wiring=wiring(""),
        sensory_wiring=wiring("sensory_"),
        unfolds=unfolds,
        epsilon=epsilon,
        constrained=constrained,
        input_mapping=mapping("input"),
        output_mapping=mapping("output"),
        timed=timed,
        dtype=found["cm"].dtype,
    )
    names = ("cm", "gleak", "vleak", *mapped)
    vectors = {name: jnp.asarray(found[name]) for name in names if name in found}
    return cell, LTCParams(**vectors, inner=synapses(""), sensory=synapses("sensory_"))


READERS = {"ncps.cfc": read_cfc, "ncps.ltc": read_ltc}
