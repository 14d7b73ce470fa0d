"""Training: from the loss of one example to jitted updates of a whole batch."""

from jaxrnn.train.epoch import make_epoch as make_epoch
from jaxrnn.train.epoch import shuffled as shuffled
from jaxrnn.train.projection import projected as projected
from jaxrnn.train.state import Metrics as Metrics
from jaxrnn.train.state import TrainState as TrainState
from jaxrnn.train.state import train_state as train_state
from jaxrnn.train.update import make_update as make_update
