"""Files in an object store that only one of several writers creates.

S3, GCS and Azure refuse a put on demand when the key exists; pyarrow does not ask them to.
"""

from __future__ import annotations

import os
from configparser import ConfigParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_SCHEMES = frozenset({"s3", "s3a", "gs", "az", "azure", "abfs", "abfss"})
_AWS_KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


def conditional_store(uri: str, region: str | None = None) -> Any | None:
    """What `create` writes to; None for a store that knows no such put (HDFS, fsspec).

    `region`: of an S3 bucket, where it is known.
    """
    if urlsplit(uri).scheme not in _SCHEMES:
        return None
    from obstore.store import from_url

    config = _of_profile() if uri.startswith("s3") else {}
    if region and uri.startswith("s3"):
        config["aws_region"] = region
    # Whether the endpoint speaks HTTP is said by its own URL.
    return from_url(uri, config=config, client_options={"allow_http": True})


def create(store: Any, name: str, data: bytes) -> bool:
    """Write the file unless it exists; of several callers exactly one gets True.

    Raises OSError where the store does not answer, or lets nobody in.
    """
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError

    try:
        obstore.put(store, name, data, mode="create", use_multipart=False)
    except AlreadyExistsError:
        return False
    except BaseError as error:
        raise OSError(str(error).partition("\n")[0]) from error
    return True


def _of_profile() -> dict[str, str]:
    """Keys from AWS's own file, as pyarrow finds them; empty where variables or roles give them."""
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return {}
    file = ConfigParser()
    file.read(
        Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser()
    )
    profile = os.environ.get("AWS_PROFILE", "default")
    if not file.has_section(profile):
        return {}
    return {key: file[profile][key] for key in _AWS_KEYS if key in file[profile]}
