"""The options of a study are sent to other processes, and come as they were."""

import copy
import importlib
import pickle
import pkgutil
from dataclasses import is_dataclass

import cloudpickle
import pytest

import experiments
from experiments import lab

RECIPES = {
    name: module.RECIPES
    for name in [m.name for m in pkgutil.iter_modules(experiments.__path__)]
    for module in [importlib.import_module(f"experiments.{name}")]
    if hasattr(module, "RECIPES")
}


def sent(value):
    found = [m.loads(m.dumps(value)) for m in (pickle, cloudpickle)]
    return [*found, copy.deepcopy(value)]


def test_all_studies_have_recipes():
    assert {"rows", "sentiment", "language_model", "translation"} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_config_is_sent(name):
    config = RECIPES[name]()
    assert is_dataclass(config)
    for got in sent(config):
        assert got == config
        assert type(got) is type(config)
        assert hash(got) == hash(config)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_sent(name):
    """With the rules that ask whether an option is given at all."""
    recipes = RECIPES[name]
    for got in sent(recipes):
        assert got.choices == recipes.choices
        assert got() == recipes()
        for rule in recipes.rules:
            chosen = {
                name: value[0] if isinstance(value, tuple) else value
                for name, value in rule.choices.items()
            }
            assert got(**chosen) == recipes(**chosen)


def test_that_an_option_is_given_is_sent():
    recipes = lab.Recipes(
        lab.Config(), lab.When({"optimizer": lab.GIVEN}, {"learning_rate": 0.5})
    )
    for got in sent(recipes):
        assert got(optimizer="sgd").train.learning_rate == 0.5
        assert got(optimizer=None) == recipes(optimizer=None)
