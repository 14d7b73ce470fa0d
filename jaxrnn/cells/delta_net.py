"""DeltaNet and gated DeltaNet: layers around the delta rule."""

from typing import Any

import jax.numpy as jnp

from jaxrnn.cells.delta_layer import ACTIVATIONS, DeltaLayer, delta_layer
from jaxrnn.cells.draws import TORCH_LINEAR
from jaxrnn.cells.matrix import check_choice, check_heads, share
from jaxrnn.cells.options import Initializer
from jaxrnn.checks import check_size
from jaxrnn.core import Cell, recorded

NORMS = "l2", "sum"


@recorded
def delta_net(
    input_size: int,
    hidden_size: int,
    *,
    heads: int = 4,
    key_size: int | None = None,
    value_size: int | None = None,
    beta: bool = True,
    negative_eigenvalues: bool = False,
    activation: str = "silu",
    norm: str = "l2",
    output_gate: bool = False,
    conv_size: int | None = 4,
    conv_bias: bool = False,
    w_init: Initializer = TORCH_LINEAR,
    method: str = "best",
    chunk_size: int | None = None,
    dtype: Any = jnp.float32,
) -> Cell:
    """DeltaNet: a matrix for a state, in which the value of a key is corrected.

        q, k, v = silu(conv(x w_q)), silu(conv(x w_k)), silu(conv(x w_v))
        q, k = q / |q|, k / |k|,    beta = sigmoid(x w_beta)
        e_t = beta_t (v_t - S_{t-1}^T k_t)
        S_t = S_{t-1} + k_t e_t^T,    o_t = S_t^T q_t / sqrt(K)
        y = (norm rms(o)) w_y

    for each head, where rms divides by the root of the mean square of a head.

    Args:
      input_size: D.
      hidden_size: H, of y.
      heads: how many states there are.
      key_size: K of one head; None for H in all heads together, rounded up.
      value_size: V of one head; None for H in all heads together, rounded up.
      beta: False for a beta of one at each step.
      negative_eigenvalues: whether beta is twice the sigmoid, so that the state may be
        multiplied by what is below zero along a key, as counting modulo two needs
        (Grazzi et al., 2025).
      activation: of q and k, "silu", "relu", "elu" (plus one) or "identity".
      norm: of q and k, "l2", or "sum", which divides by the sum of absolute values.
      output_gate: whether o is multiplied by silu(x w_z) after its norm.
      conv_size: how many inputs the convolution reads, or None for no convolution.
      conv_bias: whether the convolution has a bias.
      w_init: a `jax.nn.initializers` function for each matrix. The default is uniform
        in +-1/sqrt(D), as in torch.
      method, chunk_size: see `delta_rule`.
      dtype: of the params and of y. The state is in at least float32.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `DeltaNetParams` and `MatrixCarry`.

    Raises:
      ValueError: if an argument of the factory or, later, of the cell does not fit.

    References:
      Yang, Wang, Zhang, Shen and Kim, "Parallelizing linear transformers with the
      delta rule over sequence length", NeurIPS 2024, as the layer of
      flash-linear-attention 0.6.0 computes it.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.delta_net(3, 8, heads=2)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> carry.s.shape, ys.shape
      ((2, 4, 4), (7, 8))
    """
    hidden_size = check_size("delta_net: hidden_size", hidden_size)
    heads = check_size("delta_net: heads", heads)
    key_size = share(1, hidden_size, heads) if key_size is None else key_size
    value_size = share(1, hidden_size, heads) if value_size is None else value_size
    for option, value, known in (
        ("activation", activation, tuple(ACTIVATIONS)),
        ("norm", norm, NORMS),
    ):
        if not isinstance(value, str) or value not in known:
            raise ValueError(
                f"delta_net: {option}: expected one of {', '.join(known)}, "
                f"got {value!r}"
            )
    layer = DeltaLayer(
        gated=False,
        beta=beta,
        negative_eigenvalues=negative_eigenvalues,
        activation=activation,
        norm=norm,
        output_gate=output_gate,
        conv_size=conv_size,
        conv_bias=conv_bias,
        w_init=w_init,
        dtype=dtype,
    )
    sizes = check_heads("delta_net", heads, key_size, value_size, dtype)
    choice = check_choice("delta_net", method, chunk_size)
    return delta_layer("delta_net", input_size, hidden_size, sizes, layer, choice)


@recorded
def gated_delta_net(
    input_size: int,
    hidden_size: int,
    *,
    heads: int = 4,
    key_size: int | None = None,
    value_size: int | None = None,
    negative_eigenvalues: bool = False,
    output_gate: bool = True,
    conv_size: int | None = 4,
    conv_bias: bool = False,
    w_init: Initializer = TORCH_LINEAR,
    method: str = "best",
    chunk_size: int | None = None,
    dtype: Any = jnp.float32,
) -> Cell:
    """Gated DeltaNet: DeltaNet with a decay.

        q, k, v = silu(conv(x w_q)), silu(conv(x w_k)), silu(conv(x w_v))
        q, k = q / |q|, k / |k|,    beta = sigmoid(x w_beta)
        g = -exp(a_log) softplus(x w_a + b_a),    the fields of `decay`
        S' = exp(g_t) S_{t-1},    e_t = beta_t (v_t - S'^T k_t)
        S_t = S' + k_t e_t^T,    o_t = S_t^T q_t / sqrt(K)
        y = (norm rms(o) silu(x w_z)) w_y

    for each head, where rms divides by the root of the mean square of a head. At the
    beginning exp(a_log) is uniform in 0..16 and softplus(b_a) log-uniform in
    0.001..0.1, as in Mamba.

    Args:
      input_size: D.
      hidden_size: H, of y.
      heads: how many states there are.
      key_size: K of one head; None for 3/4 H in all heads together, rounded up.
      value_size: V of one head; None for twice K.
      negative_eigenvalues: see `delta_net`.
      output_gate: whether there is a w_z.
      conv_size: how many inputs the convolution reads, or None for no convolution.
      conv_bias: whether the convolution has a bias.
      w_init: a `jax.nn.initializers` function for each matrix. The default is uniform
        in +-1/sqrt(D), as in torch.
      method, chunk_size: see `gated_delta_rule`.
      dtype: of the params and of y. The state is in at least float32.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `DeltaNetParams` and `MatrixCarry`.

    Raises:
      ValueError: if an argument of the factory or, later, of the cell does not fit.

    References:
      Yang, Kautz and Hatamizadeh, "Gated delta networks: improving Mamba2 with the
      delta rule", ICLR 2025, as the layer of
      flash-linear-attention 0.6.0 computes it.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.gated_delta_net(3, 8, heads=2)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> carry.s.shape, ys.shape
      ((2, 3, 6), (7, 8))
    """
    name = "gated_delta_net"
    hidden_size = check_size(f"{name}: hidden_size", hidden_size)
    heads = check_size(f"{name}: heads", heads)
    if key_size is None:
        key_size = share(0.75, hidden_size, heads)
    key_size = check_size(f"{name}: key_size", key_size)
    value_size = 2 * key_size if value_size is None else value_size
    layer = DeltaLayer(
        gated=True,
        beta=True,
        negative_eigenvalues=negative_eigenvalues,
        activation="silu",
        norm="l2",
        output_gate=output_gate,
        conv_size=conv_size,
        conv_bias=conv_bias,
        w_init=w_init,
        dtype=dtype,
    )
    sizes = check_heads(name, heads, key_size, value_size, dtype)
    choice = check_choice(name, method, chunk_size)
    return delta_layer(name, input_size, hidden_size, sizes, layer, choice)
