"""Settings under which every test runs."""

import jax

jax.config.update("jax_num_cpu_devices", 4)  # before the first computation
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
