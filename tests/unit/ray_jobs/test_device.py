import pytest

from ray_jobs import training
from ray_jobs.resources import ELASTIC
from ray_jobs.trainers.config import TrainerConfig, TrainerKind

WILLING = TrainerConfig(
    kind=TrainerKind.TORCH, estimator="nets:make", num_gpus=1, num_cpus=1, allow_cpu=True
)


def test_a_cluster_that_adds_nodes_is_waited_for_although_no_gpu_is_there_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "cluster_gpus", lambda: 0.0)
    monkeypatch.setattr(training, "_ensure_room", lambda *_, **__: None)
    assert training._device(WILLING)[0] == "cpu"
    monkeypatch.setenv(ELASTIC, "1")
    assert training._device(WILLING) == ("cuda", ())
