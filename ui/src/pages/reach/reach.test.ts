import { expect, it } from "vitest";
import { asked, problems, type Fields } from "./question";

const FIELDS: Fields = { from: " a/b", to: "10.0.0.1", port: "80", protocol: "", at: "", cluster: "" };

it("asks once everything is there", () => {
  expect(asked(FIELDS)).toEqual({ from: "a/b", to: "10.0.0.1", port: 80 });
  expect(asked({ ...FIELDS, protocol: "udp", at: "10m", cluster: "demo" })).toEqual({
    from: "a/b",
    to: "10.0.0.1",
    port: 80,
    protocol: "udp",
    at: "10m",
    cluster: "demo",
  });
  for (const field of ["from", "to", "port"]) expect(asked({ ...FIELDS, [field]: " " })).toBeNull();
});

it("says what is wrong before it asks", () => {
  expect(problems(FIELDS)).toEqual({});
  for (const port of ["0", "65536", "http", "-1", "8e1"]) {
    expect(Object.keys(problems({ ...FIELDS, port }))).toEqual(["port"]);
    expect(asked({ ...FIELDS, port })).toBeNull();
  }
  expect(problems({ ...FIELDS, from: "web", protocol: "ICMP" })).toEqual({
    from: "write namespace/name, or an address",
    protocol: "write TCP, UDP or SCTP",
  });
  expect(problems({ ...FIELDS, to: "fd00:77::1" })).toEqual({});
});
