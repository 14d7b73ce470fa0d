"""How to load a network, by framework: each block of code defines `network`."""

from experiments.card.layout import Layout
from experiments.card.shared import Shared

TITLES = {  # with the versions that the blocks are tested with
    "torch": "torch\n\nWith torch 2.13 and safetensors:",
    "keras": "Keras\n\nWith Keras 3.15, safetensors and jaxrnn:",
    "flax": "flax\n\nWith flax 0.12, safetensors and jaxrnn:",
    "jaxrnn": "jaxrnn\n\nWith jaxrnn and safetensors:",
}
CLONE = "in a clone of jaxrnn's repository, after `pip install -e '.[experiments]'`"
WITHOUT = {  # why there is no code of them
    "all": "torch, Keras and flax have no layers for all that this network computes.",
    "some": "Keras and flax have no decoder that reads its own last output; the names "
    "of the tensors say what one would be made of.",
}


def blocks(layout: Layout | None, shared: Shared, study: str) -> str:
    """All blocks, with a heading each.

    Args:
      layout: the network as torch has it; None where torch has it not.
      shared: what the study says.
      study: its name.
    """
    codes = {} if layout is None else layout.codes
    found = [f"### {TITLES[name]}\n\n{_fenced(code)}" for name, code in codes.items()]
    if "jaxrnn" not in codes:
        why = WITHOUT["some" if codes else "all"]
        read = shared.read if codes else ""
        code = _fenced(of_study(shared, study, read))
        found.append(f"### jaxrnn\n\nThis runs {CLONE}. {why}\n\n{code}")
    if shared.example:
        found.append(f"### Inputs\n\n{_fenced(shared.example)}")
    return "\n".join(found)


def of_study(shared: Shared, study: str, read: str = "") -> str:
    """Loads params into the network of a study.

    Args:
      shared: what the study says.
      study: its name.
      read: see `Shared`; without it the params have this library's own names.
    """
    more = f"{shared.imports}\n" if shared.imports else ""
    head, load = "", 'interop.load_safetensors("model.safetensors", like)'
    tail = "from jaxrnn import interop\n"
    if read:
        head = "from safetensors.numpy import load_file\n"
        tail, load = "", read.replace("state", 'load_file("model.safetensors")')
    return f"""\
import jax
{head}
from experiments import card, {study}
{more}{tail}
config = card.config({study}.STUDY, "config.json")
{shared.make}
like = jax.eval_shape(net.init, jax.random.key(0))
params = {load}
network = jax.jit(jax.vmap({shared.call}))
"""


def _fenced(code: str) -> str:
    return f"```python\n{code}```\n"
