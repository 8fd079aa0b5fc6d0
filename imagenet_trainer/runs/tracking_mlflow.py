"""MLflow: --track mlflow. MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME and others apply."""

import itertools
import json
import logging
import os
import time
from typing import Any, Iterator, List, Mapping

from imagenet_trainer.runs.tracking import PROJECT, Tracked

_BATCH = 100  # parameters of a call; the limit of the service
_LONGEST = 500  # characters of a parameter; the limit of older services
_STATES = {"finished": "FINISHED", "interrupted": "KILLED"}


class MlflowRun:
    """A run of MLflow; the steps of its metrics are updates."""

    def __init__(self, client: Any, run_id: str) -> None:
        self._client, self.run_id = client, run_id

    def write(self, update: int, values: Mapping[str, float]) -> None:
        """Record values after an update."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(tag, value, now, update) for tag, value in values.items()]
        for some in _parts(metrics):
            self._client.log_batch(self.run_id, metrics=some)

    def finish(self, how: str, update: int, result: Mapping[str, Any]) -> None:
        """End the run, with the last scores as metrics of their own."""
        self.write(update, {name: float(value) for name, value in result.items()})
        self._client.set_tag(self.run_id, "how", how)
        self._client.set_terminated(self.run_id, _STATES.get(how, "FAILED"))


def open_run(run: Tracked) -> MlflowRun:
    """Open a run, or continue the one with the id, whose parameters stay."""
    from mlflow.entities import Param
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    client = MlflowClient()
    if run.run_id:
        try:
            client.get_run(run.run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # in another store
                raise
        else:
            client.update_run(run.run_id, status="RUNNING")
            return MlflowRun(client, run.run_id)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
    known = client.get_experiment_by_name(name)
    experiment = known.experiment_id if known else client.create_experiment(name)
    created = client.create_run(experiment, run_name=run.name)
    texts = {key: json.dumps(value) if isinstance(value, (list, tuple)) else str(value)
             for key, value in run.settings.items()}  # fmt: skip
    parameters = [Param(key, text[:_LONGEST]) for key, text in texts.items()]
    for some in _parts(parameters):
        client.log_batch(created.info.run_id, params=some)
    return MlflowRun(client, created.info.run_id)


def _parts(items: List[Any]) -> Iterator[List[Any]]:
    rest = iter(items)
    return iter(lambda: list(itertools.islice(rest, _BATCH)), [])
