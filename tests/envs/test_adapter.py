"""PredictedPolicy: a function from observations to actions, compared as a policy."""

import numpy as np
import pytest
from support.toy import preset

from wdmoe_env import Policy, Simulator
from wdmoe_env.envs.adapter import PredictedPolicy
from wdmoe_env.envs.codecs import action_codec, observation_codec

SCENARIO = preset("paper")


def start(num_envs=3):
    simulator = Simulator(SCENARIO, num_envs)
    return simulator.reset(0)


def test_it_sees_and_decides_as_in_a_vector_environment():
    seen = []

    def predict(observation):
        seen.append(observation)
        return np.full((len(observation), 8), 0.3)

    policy, observation = PredictedPolicy(predict, name="mine", observation="device"), start()
    assert isinstance(policy, Policy)
    policy.reset(SCENARIO, 3)
    found = policy.decide(observation)
    np.testing.assert_array_equal(seen[0], observation_codec("device", SCENARIO).encode(observation))
    expected = action_codec("price", SCENARIO).decode(np.full((3, 8), 0.3), observation)
    np.testing.assert_array_equal(found.selection, expected.selection)
    np.testing.assert_array_equal(found.bandwidth, expected.bandwidth)


def test_a_tuple_begins_with_the_actions_and_reset_is_told():
    begun: list[int] = []
    plain = PredictedPolicy(lambda seen: np.zeros((len(seen), 8)))
    pair = PredictedPolicy(lambda seen: (np.zeros((len(seen), 8)), None), reset=begun.append)
    observation = start()
    for policy in (plain, pair):
        policy.reset(SCENARIO, 3)
    np.testing.assert_array_equal(plain.decide(observation).bandwidth, pair.decide(observation).bandwidth)
    assert begun == [3]


def test_what_is_wrong_is_said():
    policy, observation = PredictedPolicy(lambda seen: np.zeros((len(seen), 7)), name="mine"), start()
    with pytest.raises(RuntimeError, match=r"call reset\(\) of policy 'mine'"):
        policy.decide(observation)
    policy.reset(SCENARIO, 3)
    with pytest.raises(ValueError, match=r"action has shape \(7,\), expected \(8,\)"):
        policy.decide(observation)
    with pytest.raises(ValueError, match="observation is 'image'"):
        PredictedPolicy(lambda seen: seen, observation="image").reset(SCENARIO, 1)
