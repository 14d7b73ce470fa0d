"""The liquid time-constant network: neurons with synapses whose strength they set."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.nn import sigmoid, softplus

from jaxrnn.cells.driven import driven, reads_timed, spans_of
from jaxrnn.checks import check_flag, check_floating, check_number, check_size
from jaxrnn.core import Cell, recorded

Mapped = Literal["affine", "linear"] | None


class LTCCarry(NamedTuple):
    """Carry of `ltc`."""

    v: jax.Array  # [H], membrane potentials


class Synapses(NamedTuple):
    """From K neurons or inputs to each of H neurons."""

    w: jax.Array  # [K, H], conductances
    erev: jax.Array  # [K, H], reversal potentials
    mu: jax.Array  # [K, H], the potential at which a synapse is half open
    sigma: jax.Array  # [K, H], how steeply it opens


class LTCParams(NamedTuple):
    """Weights of `ltc`; M motor neurons."""

    cm: jax.Array  # [H], membrane capacitances
    gleak: jax.Array  # [H], leak conductances
    vleak: jax.Array  # [H], leak potentials
    inner: Synapses  # [H, H]
    sensory: Synapses  # [D, H]
    input_w: jax.Array | None = None  # [D]
    input_b: jax.Array | None = None  # [D]
    output_w: jax.Array | None = None  # [M]
    output_b: jax.Array | None = None  # [M]


@recorded
def ltc(
    input_size: int,
    hidden_size: int,
    *,
    motor_size: int | None = None,
    wiring: Any = None,
    sensory_wiring: Any = None,
    unfolds: int = 6,
    epsilon: float = 1e-8,
    constrained: bool = True,
    input_mapping: Mapped = "affine",
    output_mapping: Mapped = "affine",
    timed: bool = False,
    dtype: Any = jnp.float32,
) -> Cell:
    """The liquid time-constant network (LTC).

        open_k = sigmoid(S.sigma_k (e_k - S.mu_k))
        g(S, e) = sum_k S.w_k open_k
        r(S, e) = sum_k S.w_k S.erev_k open_k
        s = span / unfolds
        e = input_w x_t + input_b
        `unfolds` times, from v_{t-1} to v_t:
        v = (cm v + s (gleak vleak + r(inner, v) + r(sensory, e)))
            / (cm + s (gleak + g(inner, v) + g(sensory, e) + epsilon))
        y_t = output_w v_t[:M] + output_b

    It is the membrane equation of H neurons, cm dv/dt = gleak (vleak - v) + ..., solved
    by a semi-implicit (fused) Euler step that is stable for every span. The state is v;
    the first M neurons are motor neurons, which give the output.

    cm, gleak and both w must be positive. If `constrained`, the params hold what their
    softplus gives; else the values themselves, and whoever trains keeps them at 0 or
    above after each update, as with `jax.numpy.maximum`. In ncps the layer `LTC` is
    constrained and its cell `LTCCell` by itself is not.

    This is the authors' package ncps, with both sides of the fraction multiplied by s:
    a span of 0 leaves v as it is, where theirs gives NaN.

    Args:
      input_size: D.
      hidden_size: H, of all neurons.
      motor_size: M; the default is H.
      wiring: `[H, H]` of -1, 0 and 1: from neuron to neuron an inhibitory, no, or an
        excitatory synapse, such as the `adjacency_matrix` of a wiring of ncps. The
        default is all, two of three excitatory, drawn by `init`.
      sensory_wiring: the same `[D, H]`, from the inputs.
      unfolds: how many steps of the solver a span has.
      epsilon: keeps the denominator from 0.
      constrained: whether the params go through softplus.
      input_mapping: "affine", "linear" without input_b, or None.
      output_mapping: the same for the output.
      timed: whether each step comes with its span. Without, it is 1.
      dtype: of the params and of the carry.

    Returns:
      A cell from `x` `[D]`, or from `Timed(x, span)` of `[D]` and `[]` if `timed`, to
      `y` `[M]`, with `LTCParams` and `LTCCarry`.

    Raises:
      ValueError: if a size is below 1 or an option does not fit; later, if an argument
        does not fit the cell.

    References:
      Hasani, Lechner, Amini, Rus and Grosu, "Liquid time-constant networks", AAAI 2021;
      ncps 1.0.1, github.com/mlech26l/ncps.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.ltc(3, 5, motor_size=2, timed=True)
      >>> params = cell.init(jax.random.key(0))
      >>> xs = rnn.Timed(jnp.ones((4, 3)), span=jnp.array([1.0, 0.1, 2.5, 0.0]))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), xs)
      >>> carry.v.shape, ys.shape
      ((5,), (4, 2))
    """
    input_size = check_size("ltc: input_size", input_size)
    hidden_size = check_size("ltc: hidden_size", hidden_size)
    if motor_size is None:
        motor_size = hidden_size
    motor_size = check_size("ltc: motor_size", motor_size)
    if motor_size > hidden_size:
        raise ValueError(
            f"ltc: motor_size: expected at most hidden_size {hidden_size}, "
            f"got {motor_size}"
        )
    inner = _check_wiring("wiring", wiring, hidden_size, hidden_size)
    sensory = _check_wiring("sensory_wiring", sensory_wiring, input_size, hidden_size)
    unfolds = check_size("ltc: unfolds", unfolds)
    epsilon = check_number(
        "ltc: epsilon", epsilon, "a number of at least 0", lambda value: value >= 0
    )
    constrained = check_flag("ltc: constrained", constrained)
    for option, mapping in (
        ("input_mapping", input_mapping),
        ("output_mapping", output_mapping),
    ):
        if mapping not in ("affine", "linear", None):
            raise ValueError(
                f"ltc: {option}: expected affine, linear or None, got {mapping!r}"
            )
    timed = check_flag("ltc: timed", timed)
    check_floating("ltc: dtype", dtype)

    def init(key):
        keys = iter(jax.random.split(key, 5))

        def drawn(low, high):
            shape = (hidden_size,)
            return jax.random.uniform(next(keys), shape, dtype, low, high)

        def mapped(mapping, size):
            w = None if mapping is None else jnp.ones(size, dtype)
            return w, jnp.zeros(size, dtype) if mapping == "affine" else None

        return LTCParams(
            drawn(0.4, 0.6),
            drawn(0.001, 1.0),
            drawn(-0.2, 0.2),
            _drawn(next(keys), inner, (hidden_size, hidden_size), dtype),
            _drawn(next(keys), sensory, (input_size, hidden_size), dtype),
            *mapped(input_mapping, input_size),
            *mapped(output_mapping, motor_size),
        )

    def prepare(params):
        positive = softplus if constrained else lambda a: a

        def there(synapses, wiring):
            w = positive(synapses.w)
            if wiring is not None:
                w = w * jnp.asarray(wiring != 0, w.dtype)
            return synapses._replace(w=w)

        return params._replace(
            cm=positive(params.cm),
            gleak=positive(params.gleak),
            inner=there(params.inner, inner),
            sensory=there(params.sensory, sensory),
        )

    def initial_carry(params, key=None):
        del key
        return LTCCarry(jnp.zeros(hidden_size, params.cm.dtype))

    def drive(params, xs):
        xs, spans = spans_of(xs, params.cm.dtype)

        def one(x):
            return _currents(params.sensory, _mapped(x, params.input_w, params.input_b))

        return jax.vmap(one)(xs), spans / unfolds

    def advance(params, carry, u):
        (conductance, current), span = u
        conductance = conductance + params.gleak + epsilon
        current = current + params.gleak * params.vleak

        def unfold(v, _):
            g, r = _currents(params.inner, v)
            numerator = params.cm * v + span * (current + r)
            return numerator / (params.cm + span * (conductance + g)), None

        v, _ = lax.scan(unfold, carry.v, length=unfolds)
        y = _mapped(v[:motor_size], params.output_w, params.output_b)
        return LTCCarry(v), y

    return driven(
        f"ltc({input_size}, {hidden_size})",
        reads_timed(input_size, timed),
        init,
        initial_carry,
        drive,
        advance,
        prepare=prepare,
    )


def _currents(synapses: Synapses, e: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The conductance that opens into each neuron, and what it drives, per volt."""
    w, erev, mu, sigma = synapses
    g = w * sigmoid(sigma * (e[:, None] - mu))
    return g.sum(0), (g * erev).sum(0)


def _mapped(a: jax.Array, w: jax.Array | None, b: jax.Array | None) -> jax.Array:
    a = a if w is None else a * w
    return a if b is None else a + b


def _drawn(key, wiring, shape: tuple[int, int], dtype: Any) -> Synapses:
    """As ncps draws them."""
    w_key, mu_key, sigma_key, erev_key = jax.random.split(key, 4)
    if wiring is None:
        excitatory = jax.random.bernoulli(erev_key, 2 / 3, shape)
        wiring = jnp.where(excitatory, 1, -1)
    return Synapses(
        jax.random.uniform(w_key, shape, dtype, 0.001, 1.0),
        jnp.asarray(wiring, dtype),
        jax.random.uniform(mu_key, shape, dtype, 0.3, 0.8),
        jax.random.uniform(sigma_key, shape, dtype, 3.0, 8.0),
    )


def _check_wiring(option: str, value: Any, rows: int, columns: int):
    """Returns the wiring as integers, or None, or raises a ValueError."""
    if value is None:
        return None
    try:
        array = np.asarray(value)
        fits = array.shape == (rows, columns) and np.isin(array, (-1, 0, 1)).all()
    except Exception:  # whatever is no array
        fits, array = False, np.zeros(())
    if not fits:
        raise ValueError(
            f"ltc: {option}: expected an array of -1, 0 and 1 of shape "
            f"[{rows}, {columns}], got {_shown(value)}"
        )
    return array.astype(np.int32)


def _shown(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return repr(value) if shape is None else f"one of shape {shape}, {value}"
