"""Decoding: a cell reads its own outputs.

`generate` is one compiled loop and `stream` the same loop one token at a time; both
take a chooser, `(y, key) -> token`, such as `greedy` or `sample()`. `beam_search`
looks for the most probable sequences. All three begin with one input of the cell;
`prefill` reads a prompt before them.
"""

from jaxrnn.decode.beam import Hypotheses as Hypotheses
from jaxrnn.decode.beam import beam_search as beam_search
from jaxrnn.decode.choosers import Choose as Choose
from jaxrnn.decode.choosers import greedy as greedy
from jaxrnn.decode.choosers import sample as sample
from jaxrnn.decode.generation import Generated as Generated
from jaxrnn.decode.generation import generate as generate
from jaxrnn.decode.generation import prefill as prefill
from jaxrnn.decode.generation import stream as stream
from jaxrnn.decode.scheduled import SamplingCarry as SamplingCarry
from jaxrnn.decode.scheduled import scheduled_sampling as scheduled_sampling
