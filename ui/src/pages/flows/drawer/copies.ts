// A row in the forms that people paste elsewhere.

import { condition, nanoseconds, timeOf, type Question } from "../selection";
import type { Flow } from "../flow";
import { flagsText } from "./ends";

/** So long before it began and after its end, what belongs to a connection is looked for. */
const BEFORE_NS = 5_000_000_000n;
const AFTER_NS = 600_000_000_000n;
/** Clocks of two nodes may differ by this. */
const MEANWHILE_NS = 1_000_000_000n;

/** Everything that was seen of the same connection; of the row alone where it has no id. */
export function connectionOf(flow: Flow): Required<Question> {
  const begin = nanoseconds(flow.end_time) - BigInt(Math.trunc(flow.duration_ns ?? 0));
  const first = nanoseconds(flow.time);
  return {
    filter:
      flow.connection_id === null
        ? `source_ip="${flow.source_ip}" destination_ip="${flow.destination_ip}"`
        : condition("connection_id", flow.connection_id),
    since: timeOf((begin < first ? begin : first) - BEFORE_NS),
    until: timeOf(nanoseconds(flow.end_time) + AFTER_NS),
  };
}

/** What else was seen of it, besides the row. Denied attempts of one kind share a row, which has the source port of
 * the first of them: what the other end saw of them is what was between the same addresses meanwhile. */
export function othersOf(flow: Flow): Required<Question> {
  if (flow.verdict !== "deny") return connectionOf(flow);
  const conditions = [
    condition("direction", flow.direction === "egress" ? "ingress" : "egress"),
    ...(["protocol", "source_ip", "destination_ip", "destination_port"] as const).map((field) =>
      condition(field, flow[field]),
    ),
  ];
  return {
    filter: conditions.join(" "),
    since: timeOf(nanoseconds(flow.time) - MEANWHILE_NS),
    until: timeOf(nanoseconds(flow.end_time) + MEANWHILE_NS),
  };
}

/** For `/sql`. */
export function connectionSql(flow: Flow): string {
  const { since, until } = connectionOf(flow);
  const text = (value: string) => `'${value.replaceAll("'", "''")}'`;
  const which =
    flow.connection_id === null
      ? `source_ip = ${text(flow.source_ip)} and destination_ip = ${text(flow.destination_ip)}`
      : `connection_id = ${text(flow.connection_id)}`;
  return `select *\nfrom flows\nwhere time >= ${text(since)} and time < ${text(until)}\n  and ${which}\norder by time`;
}

/** For a shell. */
export function curl(origin: string, question: Question): string {
  const quoted = (value: string) => `'${value.replaceAll("'", "'\\''")}'`;
  const parts = [`curl -sG ${quoted(`${origin}/api/v1/flows`)}`];
  for (const [name, value] of Object.entries(question)) {
    if (value) parts.push(`--data-urlencode ${quoted(`${name}=${value}`)}`);
  }
  return parts.join(" ");
}

/** As `hubble observe` prints it, in UTC. */
export function hubbleLine(flow: Flow): string {
  const at = new Date(flow.time);
  const clock = at.toISOString().slice(11, 23);
  const day = String(at.getUTCDate()).padStart(2, " ");
  const event = flow.policies.length > 0 ? `policy-verdict:${matchOf(flow)} ` : "";
  const direction = flow.direction.toUpperCase();
  return [
    `${MONTHS[at.getUTCMonth()]} ${day} ${clock}:`,
    endText(flow.source_namespace, flow.source_pod, flow.source_ip, flow.source_port, flow.source_kind),
    flow.verdict === "deny" ? "<>" : "->",
    endText(
      flow.destination_namespace,
      flow.destination_pod,
      flow.destination_ip,
      flow.destination_port,
      flow.destination_kind,
    ),
    `${event}${direction} ${VERDICTS[flow.verdict] ?? flow.verdict.toUpperCase()}`,
    `(${summary(flow)})`,
  ].join(" ");
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const VERDICTS: Record<string, string> = { allow: "ALLOWED", deny: "DENIED", audit: "AUDITED" };

function matchOf(flow: Flow): string {
  if (flow.verdict !== "allow") return "none";
  return flow.destination_port === null ? "L3-Only" : "L3-L4";
}

function endText(
  namespace: string | null,
  pod: string | null,
  address: string,
  port: number | null,
  kind: string,
): string {
  const isBracketed = pod === null && port !== null && address.includes(":");
  const name = pod === null ? (isBracketed ? `[${address}]` : address) : `${namespace ?? ""}/${pod}`;
  const number = port === null ? "" : `:${port}`;
  return pod === null ? `${name}${number} (${kind})` : `${name}${number}`;
}

function summary(flow: Flow): string {
  if (flow.protocol === "TCP") return `TCP Flags: ${flagsText(flow.tcp_flags)}`;
  if (flow.protocol.startsWith("ICMP")) {
    return `${flow.protocol} type ${flow.icmp_type ?? 0} code ${flow.icmp_code ?? 0}`;
  }
  return /^\d+$/.test(flow.protocol) ? `IP protocol ${flow.protocol}` : flow.protocol;
}
