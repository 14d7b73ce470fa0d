"""Means over a batch, in parts one after the other or on several devices."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec


def accumulated(microbatches: int, gradients: Callable) -> Callable:
    """The mean over equal parts of the batch, one part at a time."""

    def of_all(params, *inputs):
        parts = jax.tree.map(
            lambda a: a.reshape(microbatches, -1, *a.shape[1:]), inputs
        )
        first, rest = (
            jax.tree.map(lambda a, part=part: a[part], parts)
            for part in (0, slice(1, None))
        )

        def body(total, part):
            means, carry = gradients(params, *part)
            return jax.tree.map(jnp.add, total, means), carry

        means, carry = gradients(params, *first)
        total, carries = lax.scan(body, means, rest)
        carry = jax.tree.map(
            lambda a, rest: jnp.concatenate([a, rest.reshape(-1, *a.shape[1:])]),
            carry,
            carries,
        )
        return jax.tree.map(lambda a: a / microbatches, total), carry

    return of_all


def averaged_over(mesh: Mesh, gradients: Callable) -> Callable:
    """The mean over the shares of the batch that the devices have."""
    mesh = Mesh(mesh.devices, mesh.axis_names)  # a batch need not be laid out on it
    axis = mesh.axis_names[0]
    whole, share = PartitionSpec(), PartitionSpec(axis)

    def of_share(params, *inputs):
        means, carry = gradients(params, *inputs)
        return lax.pmean(means, axis), carry

    return jax.shard_map(
        of_share,
        mesh=mesh,
        in_specs=(whole, share, share, share),
        out_specs=(whole, share),
        axis_names={axis},
        check_vma=False,  # with it, JAX would sum gradients that are averaged here
    )
