"""Calls of gRPC by a client with a certificate: argument 1 is the address, 2 the directory of the files. Prints how many
flows it sees by Flight SQL and by Hubble, and what is told of a client without one and of one that nobody signed."""

import pathlib
import sys

import adbc_driver_flightsql.dbapi as flight_sql
import grpc

address, directory = sys.argv[1], pathlib.Path(sys.argv[2])
root = (directory / "root.pem").read_bytes()


def pair(name):
    return (directory / f"{name}.key").read_bytes(), (directory / f"{name}.pem").read_bytes()


key, certificate = pair("client")
option = "adbc.flight.sql.client_option"
settings = {
    f"{option}.tls_root_certs": root.decode(),
    f"{option}.mtls_cert_chain": certificate.decode(),
    f"{option}.mtls_private_key": key.decode(),
}
with flight_sql.connect(f"grpc+tls://{address}", db_kwargs=settings) as connection:
    with connection.cursor() as cursor:
        by_flight_sql = cursor.execute("select count(*) from flows").fetchone()[0]


def server_status(*of_client):
    credentials = grpc.ssl_channel_credentials(root, *of_client)
    with grpc.secure_channel(address, credentials) as channel:
        call = channel.unary_unary("/observer.Observer/ServerStatus", request_serializer=bytes, response_deserializer=bytes)
        try:
            answer = call(b"", timeout=20)
        except grpc.RpcError as error:
            return error.code().name
    # Field 1 is the number of flows; it is left out where it is 0.
    return answer[1] if answer[:1] == b"\x08" else 0


print(by_flight_sql, server_status(key, certificate), server_status(), server_status(*pair("stranger")))
