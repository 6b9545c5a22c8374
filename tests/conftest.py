"""Quiet TensorFlow, before any test imports it; one trained work directory for all tests."""

import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A finished work directory of the tiny planted run, three epochs; copy it to change it."""
    from tests.runs import train

    workdir = tmp_path_factory.mktemp("trained") / "run"
    assert train(workdir, "--config.training.num_epochs=3") == 0
    return workdir
