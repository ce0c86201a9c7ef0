"""Ends queries by the `FlightInfo` that their tickets came with, both ways; and asks for keys. Argument 1 is the gRPC
address, 2 the HTTP address."""

import sys
import threading
import time
import urllib.request

import pyarrow.flight as flight

client = flight.connect(f"grpc://{sys.argv[1]}")


def field(number, data):
    """A field of bytes in a protobuf message."""
    length, size = len(data), b""
    while length > 127:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + data


def any_of(name, message):
    return field(1, b"type.googleapis.com/arrow.flight.protocol.sql." + name) + field(2, message)


def info_of(command):
    return client.get_flight_info(flight.FlightDescriptor.for_command(command))


def by_flight(info):
    return flight.Action("CancelFlightInfo", field(1, info.serialize()))


def by_flight_sql(info):
    return flight.Action("CancelQuery", any_of(b"ActionCancelQueryRequest", field(1, info.serialize())))


endless = b"select count(*) from generate_series(1, 9000000) a, generate_series(1, 9000000) b"
for cancel in (by_flight, by_flight_sql):
    info = info_of(any_of(b"CommandStatementQuery", field(1, endless)))
    other = info_of(any_of(b"CommandStatementQuery", field(1, endless)))
    told = []

    def read():
        try:
            client.do_get(info.endpoints[0].ticket).read_all()
        except Exception as error:
            told.append(str(error))

    reading = threading.Thread(target=read)
    reading.start()
    while "9000000" not in urllib.request.urlopen(sys.argv[2] + "/api/v1/queries").read().decode():
        time.sleep(0.02)
    # The same statement with another ticket does not run.
    try:
        list(client.do_action(cancel(other)))
        raise SystemExit("what does not run was ended")
    except flight.FlightError as error:
        assert "no query runs" in str(error), error
    except KeyError as error:
        assert "no query runs" in str(error), error
    while reading.is_alive():
        try:
            [result] = list(client.do_action(cancel(info)))
            # The field `status` or `result` is 1, cancelled; the older one is wrapped.
            assert result.body.to_pybytes().endswith(b"\x08\x01"), result.body.to_pybytes()
        except (flight.FlightError, KeyError):
            # It is listed before it is known that it runs, and gone before its client knows.
            pass
        reading.join(0.2)
    assert "the query was ended by anonymous" in told[0], told

names = {action.type for action in client.list_actions()}
assert {"CancelFlightInfo", "CancelQuery", "CreatePreparedStatement"} <= names, names
table = field(3, b"flows")
for command, columns in [
    (any_of(b"CommandGetPrimaryKeys", table), 6),
    (any_of(b"CommandGetExportedKeys", table), 13),
    (any_of(b"CommandGetImportedKeys", table), 13),
    (any_of(b"CommandGetCrossReference", table + field(6, b"loss")), 13),
]:
    info = info_of(command)
    keys = client.do_get(info.endpoints[0].ticket).read_all()
    assert keys.schema == info.schema and (keys.num_rows, keys.num_columns) == (0, columns), keys
print("passed")
