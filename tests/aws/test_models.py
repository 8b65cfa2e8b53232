"""Our loader of botocore's descriptions: the same contents, only sooner."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from botocore.exceptions import DataNotFoundError, UnknownServiceError
from botocore.loaders import create_loader

from mapadmin.aws.calls import ALL
from mapadmin.aws.models import make_loader


@pytest.mark.parametrize("service", sorted({call.service for call in ALL}))
def test_the_same_as_botocores_own(service: str) -> None:
    ours, theirs = make_loader(None), create_loader()
    for kind in ("service-2", "paginators-1", "endpoint-rule-set-1"):
        assert ours.load_service_model(service, kind) == theirs.load_service_model(service, kind)
    for name in ("endpoints", "partitions", "_retry", "sdk-default-configuration"):
        assert ours.load_data(name) == theirs.load_data(name)


def test_descriptions_of_ones_own_come_first(tmp_path: Path) -> None:
    """As the setting `data_path` (AWS_DATA_PATH) has it; compressed or not."""
    for version, text in (("2020-01-01", b'{"a": 1}'), ("2021-01-01", b'{"b": [1, 2]}')):
        folder = tmp_path / "own" / version
        folder.mkdir(parents=True)
        (folder / "service-2.json.gz").write_bytes(gzip.compress(text))
    (tmp_path / "own" / "2020-01-01" / "service-2.json").write_text('{"c": 3}')
    loader = make_loader(str(tmp_path))
    assert loader.load_service_model("own", "service-2") == {"b": [1, 2]}
    assert loader.load_service_model("own", "service-2", "2020-01-01") == {"c": 3}
    assert "ec2" in loader.list_available_services("service-2")


def test_what_there_is_not() -> None:
    loader = make_loader(None)
    with pytest.raises(UnknownServiceError):
        loader.load_service_model("nothing", "service-2")
    with pytest.raises(DataNotFoundError):
        loader.load_service_model("sts", "nothing-1")
