import json, sys
import adbc_driver_flightsql.dbapi as flight_sql
import pyarrow.flight as flight

address, token = sys.argv[1], (sys.argv[2] if len(sys.argv) > 2 else None)
settings = {"adbc.flight.sql.authorization_header": f"Bearer {token}"} if token else {}
out = {}
with flight_sql.connect(f"grpc://{address}", db_kwargs=settings) as connection, connection.cursor() as cursor:
    out["count"] = cursor.execute("select count(*) from flows").fetchone()[0]
    out["foreign"] = cursor.execute("select count(*) from flows where source_namespace <> 'ns-1' or source_namespace is null").fetchone()[0]
    sql = "select count(*) from flows where packets < $1 and verdict = $2 and time >= $3"
    out["bound"] = [cursor.execute(sql, (n, "deny", "2026-01-01T00:00:00Z")).fetchone()[0] for n in (30, 60)]
    out["injected"] = cursor.execute("select count(*) from flows where source_pod = $1", ("x' or '1'='1",)).fetchone()[0]
    table = cursor.execute("select * from flows").fetch_arrow_table()
    out["rows"], out["columns"] = table.num_rows, table.num_columns
    objects = connection.adbc_get_objects(depth="all").read_all().to_pylist()
    tables = objects[0]["catalog_db_schemas"][0]["db_schema_tables"]
    out["tables"] = sorted(t["table_name"] for t in tables)
    out["described"] = [len(t["table_columns"]) for t in tables if t["table_name"] == "flows"][0]
    out["vendor"] = connection.adbc_get_info()["vendor_name"]
    out["types"] = connection.adbc_get_table_types()
    out["schema"] = [f"{f.name}: {f.type}" for f in cursor.adbc_execute_schema("select verdict, count(*) as n from flows group by 1")]
    for sql in ("delete from flows", "select nothing from flows", "select (1", "select " + "1 + " * 600 + "1"):
        try:
            cursor.execute(sql)
            out[sql[:9]] = "no error"
        except Exception as error:
            out[sql[:9]] = str(error)
client = flight.connect(f"grpc://{address}")
if token:
    header = client.authenticate_basic_token(b"anybody", token.encode())
    options = flight.FlightCallOptions(headers=[header])
else:
    options = flight.FlightCallOptions()


def field(number, data):
    """A field of bytes in a protobuf message."""
    length, size = len(data), b""
    while length > 127:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + data


query = field(1, b"select * from flows")
command = field(1, b"type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery") + field(2, query)
info = client.get_flight_info(flight.FlightDescriptor.for_command(command), options)
out["same"] = client.get_schema(flight.FlightDescriptor.for_command(command), options).schema == info.schema
table = client.do_get(info.endpoints[0].ticket, options).read_all()
out["complete"] = json.loads(table.schema.metadata[b"weir.completeness"])["complete"]
out["plain"] = table.num_rows
try:
    client.do_get(flight.Ticket(b"\xff" * 100), options).read_all()
except Exception as error:
    out["garbage"] = str(error)[:200]
print(json.dumps(out))
