"""Finished runs as model hubs expect them: `--export FOLDER --out RUN`.

The folder has the network of one seed (model.safetensors), what it is (config.json),
the files that its inputs or outputs need (classes, vocabulary, subwords), and the card
(README.md): data, licences, figures, and code that loads the network. Where torch has
the layers, the tensors have torch's names and layouts.
"""

from experiments.card.decoders import captioner_params as captioner_params
from experiments.card.decoders import translator_params as translator_params
from experiments.card.options import Sharing as Sharing
from experiments.card.options import config as config
from experiments.card.studies.numbers import forecasting as forecasting
from experiments.card.studies.numbers import memory as memory
from experiments.card.studies.numbers import music as music
from experiments.card.studies.pictures import captioning as captioning
from experiments.card.studies.pictures import rows as rows
from experiments.card.studies.texts import language_model as language_model
from experiments.card.studies.texts import sentiment as sentiment
from experiments.card.studies.texts import translation as translation
from experiments.card.writing import share as share
