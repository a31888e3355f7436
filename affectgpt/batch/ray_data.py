"""The one place that speaks to Ray: connecting to a cluster, and sending tables through a job's stages there."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from affectgpt.batch.cluster_stages import TASK_ROWS, AskStage, ReadStage, Setup
from affectgpt.errors import MissingDependency, OptionError, WorkerDied

if TYPE_CHECKING:
    import pyarrow

__all__ = ["connected", "through"]

OWN_STORE_BYTES: Final = 1 << 30
"""Of shared memory for a cluster made for one job: what travels is small, and is taken out as it comes."""

KNOCK_S: Final = 10.0
"""For a head to take a connection."""

_QUIET: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray would tell its makers hourly how it is used
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Be a driver of the cluster at `address` for the block, or of one that is made for it and ends with it.

    Raises:
        MissingDependency: no Ray. OptionError: nothing answers there.
    """
    os.environ.update(_QUIET)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependency(f"a Ray cluster: {error}", "pip install 'affectgpt[ray]'") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    _connect(ray, address)
    try:
        yield
    except (ray.exceptions.RayError, ray.data.exceptions.SystemException) as error:
        what = f"the Ray cluster failed: {type(error).__name__}: {_end_of(error)}"
        raise WorkerDied(what, "see its logs, and give the same command again: it goes on") from error
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    named = address or os.environ.get("RAY_ADDRESS")
    if named is not None:
        _knock(named)
    try:
        ray.init(address or "auto", **quiet)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        if named is None and isinstance(error, ConnectionError):  # none runs on this machine
            ray.init("local", include_dashboard=False, object_store_memory=OWN_STORE_BYTES, **quiet)
            return
        what = f"no Ray cluster can be joined at {named or 'this machine'} ({_end_of(error)})"
        raise OptionError(what, "give HOST:PORT of its head, and the token that it wants by RAY_AUTH_TOKEN") from error


def _knock(address: str) -> None:
    """Raise OptionError where nobody listens at HOST:PORT: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return  # auto, or a protocol of Ray's
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_S).close()
    except (OSError, OverflowError) as error:
        raise OptionError(f"no Ray cluster answers at {address} ({error})", "give HOST:PORT of its head") from error


def _end_of(error: Exception) -> str:
    """The last line of what Ray says, which may hold whole tracebacks: there the cause stands."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:300]


def through(tables: Sequence[pyarrow.Table], setup: Setup, n_askers: int) -> Generator[pyarrow.Table, None, None]:
    """The `affectgpt.batch.cluster.Conveyor` of Ray Data. A table that is lost with its actor twice is left out."""
    import ray.data
    from ray.data import ActorPoolStrategy, DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # a row that does not come back is done again, and told of if that is in vain
    stages = ray.data.from_arrow(list(tables)).map_batches(
        ReadStage,
        fn_constructor_args=(setup,),
        batch_size=None,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(
            min_size=1,
            max_size=setup.means.n_workers,
            initial_size=_n_at_first(setup, len(tables)),
            max_tasks_in_flight_per_actor=2,
        ),
        num_cpus=1,
        max_task_retries=1,
    )
    if setup.open_engines is not None:
        n_calls = max(1, math.ceil(setup.n_requests * n_askers / TASK_ROWS))
        stages = stages.map_batches(
            AskStage,
            fn_constructor_args=(setup,),
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(
                min_size=1,
                max_size=n_askers,
                max_tasks_in_flight_per_actor=2 * n_calls,
                enable_true_multi_threading=True,
            ),
            num_cpus=0,
            max_concurrency=n_calls,
            max_task_retries=1,
        )
    yield from iter(stages.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))


def _n_at_first(setup: Setup, n_tables: int) -> int:
    """Readers to begin with: one a core that the cluster has now. More come with more cores."""
    import ray

    untyped: Any = ray
    n_cores = int(untyped.cluster_resources().get("CPU", 0))
    return max(1, min(n_cores, n_tables, setup.means.n_workers or n_cores))
