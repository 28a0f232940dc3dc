from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ray_jobs.parquet_files import open_file, time_range

END = datetime(9999, 12, 31, tzinfo=UTC)


def test_the_old_timestamps_of_spark_are_read_as_the_feature_store_reads_them(
    tmp_path: Path,
) -> None:
    table = pa.table({"at": pa.array([END], pa.timestamp("us", "UTC"))})
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    with open_file(str(tmp_path / "a.parquet")) as file:
        (found,) = file.read()["at"].to_pylist()
    assert found.replace(tzinfo=UTC) == END
    with open_file((tmp_path / "a.parquet").as_uri()) as file:
        assert file.read()["at"].to_pylist()[0].year == 9999


def test_a_footer_with_a_time_beyond_python_does_not_say(tmp_path: Path) -> None:
    pq.write_table(pa.table({"at": pa.array([2**62], pa.timestamp("us"))}), tmp_path / "a.parquet")
    with open_file(str(tmp_path / "a.parquet")) as file:
        assert time_range(file, "at") is None
