"""Settings under which every test runs."""

import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile

# Programs run for a moment only here, and most of the time is spent on compiling: half
# as much with these. XLA ends the process for one that it does not know.
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
QUICKER = f"{QUICK} --xla_cpu_use_fusion_emitters=false"
if "XLA_FLAGS" not in os.environ:
    trial = [sys.executable, "-c", "import jax; jax.jit(lambda: 0)()"]
    for flags in (QUICKER, QUICK):
        env = os.environ | {"XLA_FLAGS": flags}
        if subprocess.run(trial, env=env, capture_output=True).returncode == 0:
            os.environ["XLA_FLAGS"] = flags
            break

import jax  # noqa: E402 (reads the flags set above)
import pytest  # noqa: E402

jax.config.update("jax_num_cpu_devices", 4)  # before the first computation
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# All processes of a test run share what they compile. It starts from nothing, and it
# is gone with the process that began it.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    folder = tempfile.mkdtemp(prefix="jaxrnn-compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


@pytest.fixture(scope="module", autouse=True)
def _no_old_garbage():
    """What a module leaves alive, programs above all, is not searched again."""
    yield
    gc.collect()
    gc.freeze()


def needs_data(*folders: str) -> pytest.MarkDecorator:
    """Skips a test, saying so, unless JAXRNN_DATA has these folders."""
    data = os.environ.get("JAXRNN_DATA")
    there = data and all(os.path.isdir(os.path.join(data, f)) for f in folders)
    reason = f"JAXRNN_DATA names no folder with {', '.join(folders)}"
    return pytest.mark.skipif(not there, reason=reason)
