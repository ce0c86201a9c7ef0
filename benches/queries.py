"""Asks DuckDB and chDB (ClickHouse) what `weir bench queries` asks Weir, over the very same rows.

    queries.py load ENGINE DIRECTORY            rows as an Arrow IPC stream on standard input
    queries.py cold ENGINE DIRECTORY            one query on standard input
    queries.py warm ENGINE DIRECTORY            {"rounds", "queries", "dashboards"} on standard input

Prints JSON: of `cold` and of each query of `warm` the milliseconds and the rows, all values as
text; of the dashboards how long each took, run side by side; at last the peak of resident memory.
"""

import json
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import engines

# Rows that are handed to ClickHouse at once.
CHUNK_ROWS = 1_000_000


class DuckDB:
    def __init__(self, directory):
        import duckdb

        self.name = f"DuckDB {duckdb.__version__}"
        self.connection = duckdb.connect(str(directory / "flows.duckdb"))

    def load(self, reader):
        self.connection.register("flows_in", reader)
        self.connection.execute("CREATE TABLE flows AS SELECT * FROM flows_in")
        self.connection.execute("CHECKPOINT")
        self.connection.close()

    def ask(self, sql):
        """For any thread."""
        return self.connection.cursor().execute(sql).fetchall()


class ChDB:
    def __init__(self, directory):
        import chdb
        from chdb import session

        self.name = f"chDB {chdb.__version__}"
        self.directory = directory
        self.session = session.Session(str(directory / "store"))

    def load(self, reader):
        import pyarrow as pa

        self.session.query("CREATE DATABASE bench")
        columns = engines.clickhouse_columns(reader.schema)
        self.session.query(
            f"CREATE TABLE bench.flows ({columns}) ENGINE = MergeTree ORDER BY time"
        )
        part = self.directory / "part.arrows"
        for batches in chunks(reader):
            table = pa.Table.from_batches(batches).unify_dictionaries()
            with pa.OSFile(str(part), "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
                out.write_table(table)
            self.session.query(f"INSERT INTO bench.flows SELECT * FROM file('{part}', ArrowStream)")
            part.unlink()
        self.session.query("OPTIMIZE TABLE bench.flows FINAL")
        self.session.close()

    def ask(self, sql):
        sql = sql.replace("FROM flows", "FROM bench.flows")
        return json.loads(str(self.session.query(sql, "JSONCompact")))["data"]


ENGINES = {"duckdb": DuckDB, "clickhouse": ChDB}


def chunks(reader):
    batches, rows = [], 0
    for batch in reader:
        batches.append(batch)
        rows += batch.num_rows
        if rows >= CHUNK_ROWS:
            yield batches
            batches, rows = [], 0
    if batches:
        yield batches


def without_zones(reader):
    """Times without a zone, which DuckDB would round to microseconds."""
    import pyarrow as pa

    fields = [
        field.with_type(pa.timestamp("ns")) if pa.types.is_timestamp(field.type) else field
        for field in reader.schema
    ]
    return reader.cast(pa.schema(fields))


def timed(engine, sql):
    begun = time.perf_counter()
    rows = engine.ask(sql)
    return (time.perf_counter() - begun) * 1e3, rows


def as_text(rows):
    return [[None if value is None else str(value) for value in row] for row in rows]


def tell(told):
    print(json.dumps(told), flush=True)


def load(engine):
    import pyarrow as pa

    with pa.ipc.open_stream(sys.stdin.buffer) as reader:
        engine.load(without_zones(reader))
    tell({"engine": engine.name})


def cold(engine):
    sql = sys.stdin.read()
    Path("/proc/sys/vm/drop_caches").write_text("3")
    milliseconds, rows = timed(engine, sql)
    tell({"ms": [milliseconds], "rows": as_text(rows)})


def warm(engine):
    asked = json.load(sys.stdin)
    for sql in asked["queries"]:
        rows = engine.ask(sql)
        times = [timed(engine, sql)[0] for _ in range(asked["rounds"])]
        tell({"ms": times, "rows": as_text(rows)})

    def dashboard(panels):
        begun = time.perf_counter()
        rows = [engine.ask(sql) for sql in panels]
        return (time.perf_counter() - begun) * 1e3, rows

    boards = asked["dashboards"]
    begun = time.perf_counter()
    with ThreadPoolExecutor(max(1, len(boards))) as threads:
        answers = list(threads.map(dashboard, boards))
    tell(
        {
            "wall_ms": (time.perf_counter() - begun) * 1e3,
            "ms": [milliseconds for milliseconds, _ in answers],
            "rows": [[as_text(rows) for rows in panels] for _, panels in answers],
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
    )


def main():
    action, name, directory = sys.argv[1:]
    directory = Path(directory)
    directory.mkdir(exist_ok=True)
    {"load": load, "cold": cold, "warm": warm}[action](ENGINES[name](directory))


if __name__ == "__main__":
    main()
