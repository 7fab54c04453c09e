"""rl_zoo3: its command line with the hyperparameters of `zoo.yml`."""

import sys
import tempfile
from pathlib import Path

from held_out import print_reward, steps
from rl_zoo3.train import train
from stable_baselines3 import PPO

logs, file = tempfile.mkdtemp(), Path(__file__).with_name("zoo.yml")
command = f"train --algo ppo --env WDMoE-paper-v0 --gym-packages wdmoe_env --conf-file {file} --log-folder {logs}"
sys.argv = [*command.split(), "--eval-freq=-1", "--device=cpu", "--seed=0", f"--n-timesteps={steps(50_000)}"]
train()
model = PPO.load(next(Path(logs).rglob("WDMoE-paper-v0.zip")), device="cpu")
print_reward(lambda seen: model.predict(seen, deterministic=True)[0])
