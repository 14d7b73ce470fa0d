"""Cells made of cells."""

from jaxrnn.combinators.carries import LearnedParams as LearnedParams
from jaxrnn.combinators.carries import learned_carry as learned_carry
from jaxrnn.combinators.carries import rekeyed as rekeyed
from jaxrnn.combinators.carries import starting as starting
from jaxrnn.combinators.compose import Directions as Directions
from jaxrnn.combinators.compose import TiedParams as TiedParams
from jaxrnn.combinators.compose import bidirectional as bidirectional
from jaxrnn.combinators.compose import chain as chain
from jaxrnn.combinators.compose import residual as residual
from jaxrnn.combinators.compose import tied_embedding as tied_embedding
from jaxrnn.combinators.dilated import dilated as dilated
from jaxrnn.combinators.feedback import FeedingCarry as FeedingCarry
from jaxrnn.combinators.feedback import input_feeding as input_feeding
from jaxrnn.combinators.newton import NewtonOptions as NewtonOptions
from jaxrnn.combinators.newton import NewtonReport as NewtonReport
from jaxrnn.combinators.noise import NoiseCarry as NoiseCarry
from jaxrnn.combinators.noise import recurrent_dropout as recurrent_dropout
from jaxrnn.combinators.noise import weight_drop as weight_drop
from jaxrnn.combinators.noise import zoneout as zoneout
from jaxrnn.combinators.parallel import newton_unroll as newton_unroll
from jaxrnn.combinators.parallel import parallel as parallel
from jaxrnn.combinators.time import remat as remat
