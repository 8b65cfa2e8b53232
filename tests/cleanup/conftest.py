"""Fixtures for tests of `mapadmin cleanup` and of what workers leave."""

from tests.pipeline.fixtures import lab, mysql_lab, mysql_pipeline, pipeline

__all__ = ["lab", "mysql_lab", "mysql_pipeline", "pipeline"]
