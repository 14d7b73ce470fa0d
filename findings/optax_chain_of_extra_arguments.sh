#!/usr/bin/env bash
# optax.chain(sam, reduce_on_plateau) can be built and started, and can never be updated.
#
# One would guess: a chain hands each part the extra arguments that it asks for, so SAM gets
# `grad_fn` and the reduction on a plateau gets `value`, as the documented rule for
# GradientTransformationExtraArgs is that a part accepts extra arguments it does not know.
#
# What happens: the chain hands all of them to every part. SAM (opaque_mode=True) accepts
# `grad_fn` alone and raises a TypeError for `value`; without `value` the reduction raises
# one. So there is no set of arguments with which the pair works, though each part alone
# does, and `init` of the pair succeeds.
#
# Seen with optax 0.2.8 and jax 0.10.2; optax/contrib/_sam.py, optax/transforms/_combining.py.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q jax==0.10.2 jaxlib==0.10.2 optax==0.2.8

cat > pair.py <<'END'
import itertools

import jax
import jax.numpy as jnp
import optax
from optax import contrib

loss = lambda params: jnp.sum(params**2)
params = jnp.ones(3)
grads = jax.grad(loss)(params)
sam = contrib.sam(
    optax.sgd(0.1), optax.chain(contrib.normalize(), optax.sgd(0.05)), opaque_mode=True
)
plateau = contrib.reduce_on_plateau()
arguments = {"grad_fn": lambda params, _: jax.grad(loss)(params), "value": loss(params)}

sam.update(grads, sam.init(params), params, grad_fn=arguments["grad_fn"])
plateau.update(grads, plateau.init(params), params, value=arguments["value"])
print("each alone: an update")

pair = optax.chain(sam, plateau)
state = pair.init(params)
for count in range(3):
    for names in itertools.combinations(arguments, count):
        try:
            pair.update(grads, state, params, **{name: arguments[name] for name in names})
        except (TypeError, ValueError) as error:
            print(f"the pair with {list(names)}: {type(error).__name__}: {error}")
        else:
            raise SystemExit(f"the pair takes {names} now")
END
JAX_PLATFORMS=cpu env/bin/python pair.py
echo "as described"
