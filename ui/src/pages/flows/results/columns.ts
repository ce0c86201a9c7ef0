// Columns of single flows and of groups, and which of them the address names.

import { written as fieldWritten } from "../../../filter/chips";
import type { Column } from "../../../parts/table/columns";
import { bytes, exact, moment, span } from "../../../state/time";
import type { Flow, Group } from "../flow";
import { podName, podValues, portName, portValues, workloadName, workloadValues, type Values } from "./ends";

/** A column of flows or groups, and what a click on a value asks for. */
export interface FlowColumn<Row> extends Column<Row> {
  /** What flows with this value have in which fields; empty if one cannot ask for it. */
  values: (row: Row) => Values;
}

export interface Preset {
  id: string;
  title: string;
  columns: readonly string[];
}

export interface Choice<Row> {
  columns: FlowColumn<Row>[];
  /** Names in the address that are no columns. */
  unknown: string[];
  /** Id of the preset that it is; "" if it is none. */
  preset: string;
}

const LABELS = /^(source|destination)_labels\.(.+)$/s;
const MOST_COLUMNS = 40;

/** Of single flows: those made for reading, and every field of a row. */
export const FLOW_COLUMNS: readonly FlowColumn<Flow>[] = [
  column("time", "Time", 184, (flow) => moment(flow.time), { doc: "first packet in the row" }),
  field("verdict", "Verdict", 116),
  field("direction", "Direction", 80, { doc: "of the pod whose policies decided" }),
  column("source", "Source", 170, (flow) => podName(flow, "source"), {
    grows: true,
    values: (flow) => podValues(flow, "source"),
  }),
  column("destination", "Destination", 170, (flow) => podName(flow, "destination"), {
    grows: true,
    values: (flow) => podValues(flow, "destination"),
  }),
  column("port", "Port", 92, portName, { values: portValues }),
  field("policy", "Policy", 120, { grows: true, doc: "that decided" }),
  field("reason", "Reason", 104),
  number("count", "Count", 64, (flow) => exact(flow.count), "connections begun, attempts denied"),
  field("state", "State", 76),
  field("node", "Node", 80, { doc: "that saw it" }),
  column("end_time", "Last packet", 200, (flow) => moment(flow.end_time)),
  field("cluster", "Cluster", 100),
  field("protocol", "Protocol", 80),
  ...(["source", "destination"] as const).flatMap((side) => {
    const title = side === "source" ? "Source" : "Destination";
    return [
      column(`${side}_workload_name`, `${title} workload`, 170, (flow: Flow) => workloadName(flow, side), {
        grows: true,
        values: (flow) => workloadValues(flow, side),
      }),
      field<Flow>(`${side}_kind`, `${title} kind`, 100),
      field<Flow>(`${side}_namespace`, `${title} namespace`, 140),
      field<Flow>(`${side}_pod`, `${title} pod`, 200),
      field<Flow>(`${side}_workload_kind`, `${title} workload kind`, 130),
      field<Flow>(`${side}_ip`, `${title} address`, 130),
      field<Flow>(`${side}_port`, `${title} port`, 92, { number: true }),
      field<Flow>(`${side}_node`, `${title} node`, 110),
      column(`${side}_names`, `${title} names`, 170, (flow: Flow) => flow[`${side}_names`].join(", "), {
        values: (flow) => listed(`${side}_names`, flow[`${side}_names`][0]),
      }),
      column(`${side}_labels`, `${title} labels`, 220, (flow: Flow) => labels(flow[`${side}_labels`])),
    ];
  }),
  field("destination_service", "Service", 140, { doc: "that was dialled" }),
  column("policies", "Rules", 200, (flow) => flow.policies.map(rule).join(", "), {
    doc: "policies that decided, each with its rule",
    values: (flow) => listed("policies.name", flow.policies[0]?.name),
  }),
  field("policy_revision", "Policy revision", 110, { number: true }),
  number("bytes", "Bytes", 88, (flow) => bytes(flow.bytes), "of the source"),
  number("packets", "Packets", 80, (flow) => exact(flow.packets), "of the source"),
  number("reply_bytes", "Reply bytes", 96, (flow) => bytes(flow.reply_bytes), "of the destination"),
  number("reply_packets", "Reply packets", 104, (flow) => exact(flow.reply_packets), "of the destination"),
  number("duration_ns", "Duration", 88, (flow) => spanOf(flow.duration_ns)),
  number("rtt_ns", "Round trip", 92, (flow) => spanOf(flow.rtt_ns), "first packet to first reply"),
  column("tcp_flags", "TCP flags", 130, (flow) => flags(flow.tcp_flags), {
    values: (flow) => [["tcp_flags", flow.tcp_flags]],
  }),
  field("icmp_type", "ICMP type", 84, { number: true }),
  field("icmp_code", "ICMP code", 84, { number: true }),
  field("connection_id", "Connection id", 230),
];

/** A button to the details, in front of groups: their rows are behind a click on anything else. */
export const WHY: FlowColumn<Group> = column("why", "Why", 44, () => "");

export const GROUP_COLUMNS: readonly FlowColumn<Group>[] = [
  field("verdict", "Verdict", 118),
  field("direction", "Direction", 84, { doc: "of the pod whose policies decided" }),
  column("source", "Source", 150, (group) => workloadName(group, "source"), {
    grows: true,
    values: (group) => workloadValues(group, "source"),
  }),
  column("destination", "Destination", 150, (group) => workloadName(group, "destination"), {
    grows: true,
    values: (group) => workloadValues(group, "destination"),
  }),
  column("port", "Port", 92, portName, { values: portValues }),
  field("policy", "Policy", 130, { grows: true, doc: "that decided" }),
  field("reason", "Reason", 112),
  number("count", "Count", 76, (group) => exact(group.count), "connections begun, attempts denied", true),
  column("counts", "Over time", 116, (group) => `${exact(group.count)} in ${group.counts.length} steps`, {
    doc: "count, from the begin of the time to its end",
  }),
  column("first_seen", "First seen", 100, (group) => moment(group.first_seen), { sorts: true }),
  column("last_seen", "Last seen", 100, (group) => moment(group.last_seen), { sorts: true }),
  number("bytes", "Bytes", 88, (group) => bytes(group.bytes), "of the source", true),
  number("reply_bytes", "Reply bytes", 96, (group) => bytes(group.reply_bytes), "of the destination", true),
  field("cluster", "Cluster", 100),
  field("destination_service", "Service", 140, { doc: "that was dialled" }),
  ...(["source", "destination"] as const).flatMap((side) => {
    const title = side === "source" ? "Source" : "Destination";
    return [
      field<Group>(`${side}_kind`, `${title} kind`, 100),
      field<Group>(`${side}_namespace`, `${title} namespace`, 140),
      field<Group>(`${side}_workload_kind`, `${title} workload kind`, 130),
    ];
  }),
];

export const FLOW_PRESETS: readonly Preset[] = [
  preset("default", "Decisions", "time verdict source destination port policy reason count direction node"),
  preset(
    "workloads",
    "Workloads",
    "time verdict source_workload_name destination_workload_name port reason count",
  ),
  preset(
    "addresses",
    "Addresses",
    "time verdict protocol source_ip source_port destination_ip destination_port tcp_flags connection_id",
  ),
  preset(
    "traffic",
    "Traffic",
    "time verdict source destination port state bytes reply_bytes packets reply_packets duration_ns rtt_ns",
  ),
  preset(
    "policy",
    "Policy",
    "time verdict reason source destination port policies policy_revision direction node",
  ),
];

export const GROUP_PRESETS: readonly Preset[] = [
  preset(
    "default",
    "Decisions",
    "verdict count source destination port policy reason counts first_seen last_seen",
  ),
  preset("traffic", "Traffic", "verdict count source destination port counts bytes reply_bytes last_seen"),
  preset(
    "all",
    "With direction, cluster, service",
    "verdict count direction cluster source destination destination_service port policy reason counts first_seen last_seen",
  ),
];

/** What the address says: nothing, the name of a preset, or names of columns. */
export function chosen<Row>(
  text: string,
  known: readonly FlowColumn<Row>[],
  presets: readonly Preset[],
): Choice<Row> {
  const named = presets.find(({ id }) => id === (text || "default"));
  const ids = named ? [...named.columns] : text.split(",").filter((id) => id !== "");
  const found = [...new Set(ids)].slice(0, MOST_COLUMNS).map((id) => [id, columnOf(id, known)] as const);
  const columns = found.flatMap(([, column]) => column ?? []);
  const unknown = found.filter(([, column]) => !column).map(([id]) => id);
  if (columns.length === 0) return { ...chosen("default", known, presets), unknown };
  const same = presets.find((preset) => preset.columns.join(",") === columns.map(({ id }) => id).join(","));
  return { columns, unknown, preset: same?.id ?? "" };
}

/** How the address names them; "" if they are those without a name. */
export function written(ids: readonly string[], presets: readonly Preset[]): string {
  const text = ids.join(",");
  const preset = presets.find(({ columns }) => columns.join(",") === text)?.id ?? text;
  return preset === "default" ? "" : preset;
}

/** A column by its id: one that is known, or that of a label. */
export function columnOf<Row>(id: string, known: readonly FlowColumn<Row>[]): FlowColumn<Row> | null {
  const found = known.find((column) => column.id === id);
  if (found) return found;
  const [, side, key] = LABELS.exec(id) ?? [];
  if (!side || !key || !known.some((column) => column.id === `${side}_labels`)) return null;
  const labelsOf = (row: Row) => (row as Flow)[`${side as "source" | "destination"}_labels`];
  const value = (row: Row) => (Object.hasOwn(labelsOf(row), key) ? labelsOf(row)[key] : undefined);
  return column(id, `${side} ${key}`, 140, (row: Row) => value(row) ?? "", {
    doc: `label ${key} of the ${side}`,
    values: (row) => listed(fieldWritten(`${side}_labels.${key}`), value(row)),
  });
}

type Options<Row> = Partial<Pick<FlowColumn<Row>, "grows" | "number" | "doc" | "sorts" | "values">>;

function column<Row>(
  id: string,
  title: string,
  width: number,
  text: (row: Row) => string,
  options: Options<Row> = {},
): FlowColumn<Row> {
  return { id, title, width, text, values: () => [], ...options };
}

/** A column of one field, under the field's name. */
function field<Row extends Flow | Group>(
  id: string & keyof Row,
  title: string,
  width: number,
  options: Options<Row> = {},
): FlowColumn<Row> {
  const value = (row: Row) => row[id] as string | number | null;
  return column(id, title, width, (row) => String(value(row) ?? ""), {
    values: (row) => [[id, value(row)]],
    ...options,
  });
}

function number<Row>(
  id: string,
  title: string,
  width: number,
  text: (row: Row) => string,
  doc?: string,
  sorts = false,
): FlowColumn<Row> {
  return column(id, title, width, text, { number: true, doc, sorts });
}

function preset(id: string, title: string, columns: string): Preset {
  return { id, title, columns: columns.split(" ") };
}

function listed(field: string, value: string | undefined): Values {
  return value === undefined ? [] : [[field, value]];
}

function labels(of: Record<string, string>): string {
  return Object.entries(of)
    .map(([key, value]) => `${key}=${value}`)
    .join(", ");
}

function rule({ namespace, name, rule }: Flow["policies"][number]): string {
  const full = namespace === "" ? name : `${namespace}/${name}`;
  return rule === null ? full : `${full}[${rule}]`;
}

function spanOf(nanoseconds: number | null): string {
  return nanoseconds === null ? "" : span(nanoseconds);
}

const FLAGS = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];

/** `SYN ACK`. */
export function flags(bits: number | null): string {
  return bits === null ? "" : FLAGS.filter((_, bit) => (bits >> bit) & 1).join(" ");
}
