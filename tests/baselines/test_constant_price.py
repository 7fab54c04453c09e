"""One price for all: the `price` action of one number, chosen on validation episodes."""

import numpy as np
import pytest

import baselines
from baselines import constant_price
from baselines.constant_price import ACTIONS, EPISODES, ConstantPrice, price_of
from baselines.validation import validate
from wdmoe_env import Simulator, load_scenario
from wdmoe_env.envs.actions import ExpertPriceAction, PriceAction

SCENARIO = load_scenario("paper", gating={"bank_passes": 2}, model={"layers": 4})


@pytest.mark.parametrize(
    ("codec", "preset"), [(PriceAction, "paper"), (PriceAction, "mobile"), (ExpertPriceAction, "many-experts")]
)
@pytest.mark.parametrize("action", [-1.0, -0.3, 0.4, 1.0])
def test_it_is_a_price_action_of_one_number(codec, preset, action):
    scenario = load_scenario(preset, gating={"bank_passes": 2})
    simulator, policy = Simulator(scenario, 3), ConstantPrice(price_of(action))
    policy.reset(scenario, 3)
    actions = codec(scenario)
    observation = simulator.reset(seed=1)
    for _ in range(3):
        expected = actions.decode(np.full((3, *actions.space.shape), action, dtype=np.float32), observation)
        found = policy.decide(observation)
        np.testing.assert_array_equal(found.selection, expected.selection)
        np.testing.assert_allclose(found.bandwidth, expected.bandwidth, rtol=1e-12)
        observation = simulator.step(found).observation


@pytest.mark.parametrize("floor", [0.5, 0.95, 1.0])
def test_the_floor_is_kept(floor):
    scenario = load_scenario(SCENARIO, reward={"mass_floor": floor})
    simulator, policy = Simulator(scenario, 4), ConstantPrice(0.5)
    policy.reset(scenario, 4)
    assert simulator.preview(policy.decide(simulator.reset(0)))["retained_mass"].min() >= floor - 1e-6


def test_the_price_is_the_best_of_the_grid_in_validation_episodes():
    policy = baselines.make("constant-price")
    assert isinstance(policy, ConstantPrice)
    assert policy.price is None
    policy.reset(SCENARIO, 1)
    simulator = Simulator(SCENARIO, EPISODES, "validation")
    rewards = {price_of(action): validate(ConstantPrice(price_of(action)), simulator)["reward"] for action in ACTIONS}
    best = max(rewards.values())
    assert policy.price == min(price for price, reward in rewards.items() if reward == best)
    assert best > rewards[0.0]


def test_it_looks_at_no_episodes_but_those_of_validation_and_once(monkeypatch):
    splits = []

    class Watched(Simulator):
        def __init__(self, scenario, num_envs, split):
            splits.append(split)
            super().__init__(scenario, num_envs, split)

    monkeypatch.setattr(constant_price, "Simulator", Watched)
    scenario = load_scenario(SCENARIO, name="another")
    one, other = ConstantPrice(), ConstantPrice()
    one.reset(scenario, 1)
    other.reset(scenario, 5)
    assert one.price == other.price
    assert splits == ["validation"]


def test_another_scenario_has_another_price():
    policy = ConstantPrice()
    policy.reset(SCENARIO, 1)
    first = policy.price
    policy.reset(load_scenario(SCENARIO, reward={"mass_floor": 0.0}), 1)
    assert policy.price != first
    fixed = ConstantPrice(0.1)
    fixed.reset(SCENARIO, 1)
    assert fixed.price == 0.1


def test_the_actions_are_those_of_the_price_action():
    action = PriceAction(SCENARIO)
    values = np.tile(np.array(ACTIONS)[:, None], (1, 8))
    np.testing.assert_allclose(action.meaning(values)[0][:, 0], [price_of(one) for one in ACTIONS])


@pytest.mark.parametrize("price", [-0.1, 1.1, float("nan"), "high", True])
def test_a_wrong_price_is_named(price):
    with pytest.raises(ValueError, match=r"price is .*, expected a number of at least 0 and at most 1"):
        baselines.make("constant-price", price=price)
