"""What exists is documented."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from deployments.batch_sizes import BatchSize, BatchSizes, DynamicBatching
from deployments.config import Autoscaling, ModelConfig

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize(
    "model", [ModelConfig, Autoscaling, BatchSize, BatchSizes, DynamicBatching]
)
def test_every_configuration_key_is_documented(model: type[BaseModel]) -> None:
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    missing = [key for key in model.model_fields if f"{key}`" not in text and f"`{key}" not in text]
    assert missing == []
