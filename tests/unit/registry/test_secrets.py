"""Secrets are masked wherever they hide; everything else stays readable."""

import pytest

from registry.secrets import redact, redact_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("url: postgresql://me:pw@host/db", "url: postgresql://***@host/db"),
        ("uri: sqlite:///home/mlflow.db", "uri: sqlite:///home/mlflow.db"),
        ("password: hunter2", "password: ***"),
        ("password: a, b", "password: ***"),
        ("  smtp_password: hunter2\n  port: 25", "  smtp_password: ***\n  port: 25"),
        ('{"api_key": "k", "rows": 5}', '{"api_key": ***, "rows": 5}'),
        ("hook: https://hooks.slack.com/services/T/B/X", "hook: https://hooks.slack.com/***"),
        ("AWS_SECRET_ACCESS_KEY=abc", "AWS_SECRET_ACCESS_KEY=***"),
        ("max_tokens: 100", "max_tokens: 100"),
        ("tokenizer: words", "tokenizer: words"),
        ("secrets:\n  a: 1", "secrets:\n  a: 1"),
    ],
)
def test_text_is_masked(text: str, expected: str) -> None:
    assert redact_text(text) == expected


def test_nested_values_are_masked_by_their_names() -> None:
    values = {"a": [{"db_password": {"x": 1}}, "https://u:p@h/"], "rows": 3, "none": None}
    assert redact(values) == {
        "a": [{"db_password": "***"}, "https://***@h/"],
        "rows": 3,
        "none": None,
    }
