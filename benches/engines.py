"""Loads and stores the rows of an Arrow IPC stream with DuckDB, chDB and pyarrow.

    engines.py ROWS.arrows DIRECTORY

Prints a line of JSON for each: name, rows, processor and wall time from rows in memory to rows on
disk, bytes on disk. Each runs in a process of its own, with one thread where it can be told so.
"""

import json
import multiprocessing
import os
import resource
import sys
import time
from pathlib import Path


CLICKHOUSE = {
    "string": "String",
    "uint8": "UInt8",
    "uint16": "UInt16",
    "uint32": "UInt32",
    "uint64": "UInt64",
}


class Clock:
    """Processor time of this process, all of its threads, and wall time."""

    def __init__(self):
        self.cpu, self.wall = self._cpu(), time.monotonic()

    @staticmethod
    def _cpu():
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    def stop(self):
        return self._cpu() - self.cpu, time.monotonic() - self.wall


def table(rows):
    """The rows with one dictionary a column and times without a zone, which DuckDB would round."""
    import pyarrow as pa

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    with pa.ipc.open_stream(rows) as stream:
        read = stream.read_all().unify_dictionaries()
    no_zone = [
        field.with_type(pa.timestamp("ns")) if pa.types.is_timestamp(field.type) else field
        for field in read.schema
    ]
    return read.cast(pa.schema(no_zone))


def sync(path):
    """Makes every file below durable."""
    for file in [path, *path.rglob("*")]:
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def size(path):
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def duckdb(rows, directory):
    import duckdb

    flows = table(rows)
    connection = duckdb.connect(str(directory / "flows.duckdb"), config={"threads": 1})
    clock = Clock()
    connection.register("flows_in", flows)
    connection.execute("CREATE TABLE flows AS SELECT * FROM flows_in")
    connection.execute("CHECKPOINT")
    cpu, wall = clock.stop()
    count = connection.execute("SELECT count(*) FROM flows").fetchone()[0]
    connection.close()
    return {
        "engine": f"DuckDB {duckdb.__version__}",
        "rows": count,
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "bytes": size(directory),
        "note": "native table, then `CHECKPOINT`; in the order of arrival",
    }


def chdb(rows, directory):
    import chdb
    import pyarrow as pa
    from chdb import session

    flows = table(rows)
    plain = directory / "rows.arrows"
    with pa.OSFile(str(plain), "wb") as file, pa.ipc.new_stream(file, flows.schema) as stream:
        stream.write_table(flows)
    columns = clickhouse_columns(flows.schema)
    del flows
    store = directory / "store"
    database = session.Session(str(store))
    database.query("CREATE DATABASE IF NOT EXISTS bench")
    database.query(
        f"CREATE TABLE bench.flows ({columns}) ENGINE = MergeTree ORDER BY time "
        "SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"
    )
    clock = Clock()
    database.query(
        f"INSERT INTO bench.flows SELECT * FROM file('{plain}', ArrowStream) "
        "SETTINGS max_threads = 1, max_insert_threads = 1, input_format_parallel_parsing = 0"
    )
    cpu, wall = clock.stop()
    database.query("OPTIMIZE TABLE bench.flows FINAL")
    answer = database.query(
        "SELECT sum(rows), sum(bytes_on_disk) FROM system.parts "
        "WHERE active AND database = 'bench' AND table = 'flows'",
        "CSV",
    )
    count, taken = (int(number) for number in str(answer).strip().split(","))
    database.close()
    return {
        "engine": f"chDB {chdb.__version__}",
        "rows": count,
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "bytes": taken,
        "note": "MergeTree by time, words as LowCardinality, synced; "
        "bytes after `OPTIMIZE … FINAL`, which is not timed",
    }


def clickhouse_columns(fields):
    return ", ".join(
        f"`{field.name}` {clickhouse_type(field.type, field.nullable)}" for field in fields
    )


def clickhouse_type(arrow, nullable=False):
    """ClickHouse's counterpart of an Arrow type."""
    import pyarrow as pa

    if pa.types.is_dictionary(arrow):
        inner = clickhouse_type(arrow.value_type)
        return f"LowCardinality(Nullable({inner}))" if nullable else f"LowCardinality({inner})"
    if pa.types.is_map(arrow):
        return f"Map({clickhouse_type(arrow.key_type)}, {clickhouse_type(arrow.item_type)})"
    if pa.types.is_list(arrow):
        return f"Array({clickhouse_type(arrow.value_type)})"
    if pa.types.is_struct(arrow):
        return f"Tuple({clickhouse_columns(arrow)})"
    if pa.types.is_timestamp(arrow):
        return "DateTime64(9)"
    name = CLICKHOUSE[str(arrow)]
    return f"Nullable({name})" if nullable else name


def parquet(rows, directory):
    import pyarrow as pa
    import pyarrow.parquet as pq

    flows = table(rows)
    clock = Clock()
    pq.write_table(flows, directory / "flows.parquet", compression="zstd")
    sync(directory)
    cpu, wall = clock.stop()
    return {
        "engine": f"pyarrow {pa.__version__}",
        "rows": pq.read_metadata(directory / "flows.parquet").num_rows,
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "bytes": size(directory),
        "note": "plain Parquet, zstd, in the order of arrival",
    }


def run(engine, rows, directory):
    directory.mkdir()
    print(json.dumps(engine(rows, directory)), flush=True)


def main():
    rows, directory = sys.argv[1], Path(sys.argv[2])
    for engine in (duckdb, chdb, parquet):
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=run, args=(engine, rows, directory / engine.__name__))
        process.start()
        process.join()
        if process.exitcode != 0:
            sys.exit(f"{engine.__name__} ended with {process.exitcode}")


if __name__ == "__main__":
    main()
