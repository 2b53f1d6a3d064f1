"""Engines that joblib can be set to, each with two workers on this machine."""

import os
import sys
from contextlib import contextmanager, nullcontext

import pytest
from joblib import parallel_config

# Warnings of the engines themselves.
IGNORED = (
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::ResourceWarning",  # sockets
    "ignore:Spark (local mode|version) does",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@contextmanager
def on_dask():
    distributed = pytest.importorskip("distributed")
    import dask

    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": 50}
    # A worker that is killed again within 15 seconds would be given up for ever.
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "10 minutes"}):
        with distributed.LocalCluster(processes=True, **settings) as cluster, distributed.Client(cluster) as client:
            with parallel_config("dask", wait_for_workers_timeout=60):
                yield client


@contextmanager
def on_ray():
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=10**8, log_to_driver=False)
    register_ray()
    try:
        with parallel_config("ray", n_jobs=2):
            yield ray
    finally:
        ray.shutdown()


@contextmanager
def on_spark():
    pytest.importorskip("pyspark")
    register_spark = pytest.importorskip("joblibspark").register_spark
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    register_spark()
    try:
        with parallel_config("spark", n_jobs=2):
            yield session
    finally:
        session.stop()


# Each is a context; it skips the test where its package is missing.
ENGINES = {"none": nullcontext, "loky": nullcontext, "dask": on_dask, "ray": on_ray, "spark": on_spark}
