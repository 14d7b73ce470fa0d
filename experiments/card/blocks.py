"""How to load a network, by framework: each block of code defines `network`."""

from experiments.card.layout import Layout
from experiments.card.shared import Shared

TITLES = {  # with the versions that the blocks are tested with
    "torch": "torch\n\nWith torch 2.13 and safetensors:",
    "keras": "Keras\n\nWith Keras 3.15, safetensors and jaxrnn:",
    "flax": "flax\n\nWith flax 0.12, safetensors and jaxrnn:",
    "jaxrnn": "jaxrnn\n\nWith jaxrnn and safetensors:",
}
ALONE = """\
torch, Keras and flax have no layers for all that this network computes. jaxrnn loads it,
in a clone of its repository after `pip install -e '.[experiments]'`:"""


def blocks(layout: Layout | None, shared: Shared, study: str) -> str:
    """All blocks, with a heading each.

    Args:
      layout: the network as torch has it; None where torch has it not.
      shared: what the study says.
      study: its name.
    """
    inputs = [f"### Inputs\n\n{_fenced(shared.example)}"] if shared.example else []
    if layout is None:
        alone = f"### jaxrnn\n\n{ALONE}\n\n{_fenced(of_study(shared, study))}"
        return "\n".join([alone, *inputs])
    found = [f"### {TITLES[k]}\n\n{_fenced(code)}" for k, code in layout.codes.items()]
    return "\n".join([*found, *inputs])


def of_study(shared: Shared, study: str) -> str:
    """Loads params under this library's own names, into the network of a study."""
    more = f"{shared.imports}\n" if shared.imports else ""
    return f"""\
import jax

from experiments import card, {study}
{more}from jaxrnn import interop

config = card.config({study}.STUDY, "config.json")
{shared.make}
like = jax.eval_shape(net.init, jax.random.key(0))
params = interop.load_safetensors("model.safetensors", like)
network = jax.jit(jax.vmap({shared.call}))
"""


def _fenced(code: str) -> str:
    return f"```python\n{code}```\n"
