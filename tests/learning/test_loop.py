"""The learning rates of trainings of any length."""

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from regenhance_data.learning.loop import Training, one_cycle

pytestmark = pytest.mark.torch
RATE = 0.01


def rates(steps, make):
    """The learning rate and the momentum of each step of a schedule."""
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], RATE)
    schedule, found = make(optimizer), []
    for _ in range(steps):
        found.append((schedule.get_last_lr()[0], optimizer.param_groups[0]["betas"][0]))
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("warm_up", [0.1, 0.2, 0.5])
def test_the_rates_are_pytorch_s_wherever_it_has_some(warm_up):
    fails_at = round(1 / warm_up)
    for steps in {*range(5, 40), 300} - {fails_at}:
        found = rates(steps, lambda optimizer, n=steps: one_cycle(optimizer, RATE, n, warm_up))
        assert found == rates(steps, lambda optimizer, n=steps: OneCycleLR(optimizer, RATE, n, pct_start=warm_up))
    if fails_at < 5:
        return
    (first, _), *others = rates(fails_at, lambda optimizer: one_cycle(optimizer, RATE, fails_at, warm_up))
    assert first == pytest.approx(RATE / 25)  # the only step of the warm-up
    assert [rate for rate, _ in others] == sorted([rate for rate, _ in others], reverse=True)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_steps_that_are_too_few_for_a_schedule_have_the_whole_rate(steps):
    found = rates(steps, lambda optimizer: one_cycle(optimizer, RATE, steps, warm_up=0.2))
    assert [rate for rate, _ in found] == [RATE] * steps


@pytest.mark.parametrize("steps", [1, 2, 10, 11])
def test_a_training_takes_all_of_its_steps(steps):
    network = torch.nn.Linear(1, 1)
    training = Training(network, torch.optim.Adam(network.parameters(), RATE), steps, most_gradient=1.0)
    taken = []
    training.run(lambda step: network(torch.ones(1)).square().sum(), after_step=lambda: taken.append(training.done))
    assert taken == list(range(1, steps + 1))
