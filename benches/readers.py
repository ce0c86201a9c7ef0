"""What other programs make of a store's flows: READER... over the files of the newest manifest.

    python benches/readers.py STORE duckdb polars spark

Needs the packages of the readers (`pip install duckdb polars pyspark`), and Java 17 for Spark. Prints for
each verdict: rows, their count, bytes and pods; every reader must print the same.
"""

import glob
import json
import sys
import time

store, readers = sys.argv[1], sys.argv[2:]
manifest = json.load(open(max(glob.glob(f"{store}/manifests/*.json"))))
files = [f"{store}/{file['path']}" for file in manifest["files"]]
SUMS = """select verdict, count(*), cast(sum("count") as bigint), cast(sum(bytes) as bigint), count(distinct source_pod)
    from {} group by verdict order by verdict"""


def duckdb():
    import duckdb

    return duckdb.sql(SUMS.format(f"read_parquet({files})")).fetchall()


def polars():
    import polars

    flows = polars.scan_parquet(files).group_by(polars.col("verdict").cast(polars.String))
    pods = polars.col("source_pod").drop_nulls().n_unique()
    sums = flows.agg(polars.len(), polars.col("count").sum(), polars.col("bytes").sum(), pods)
    return sorted(sums.collect().rows())


def chdb():
    import chdb

    paths = "{" + ",".join(file["path"] for file in manifest["files"]) + "}"
    flows = f"file('{store}/{paths}', Parquet)"
    answer = chdb.query(SUMS.format(flows), "JSONCompactEachRow")
    return [tuple(json.loads(line)) for line in str(answer).splitlines()]


def spark():
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        # It has no type for nanoseconds.
        .config("spark.sql.legacy.parquet.nanosAsLong", "true")
        # Its fast reader does not know split bytes of unsigned numbers.
        .config("spark.sql.parquet.enableVectorizedReader", "false")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    session.read.parquet(*files).createOrReplaceTempView("flows")
    return [tuple(row) for row in session.sql(SUMS.replace('"', "`").format("flows")).collect()]


for reader in readers:
    began = time.time()
    for row in globals()[reader]():
        print(reader, *row)
    print(f"{reader}: {time.time() - began:.1f} s", flush=True)
