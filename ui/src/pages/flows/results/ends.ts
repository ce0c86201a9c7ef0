// The two ends of a flow or group, as people name them, and as the filter language does.

import type { Wanted } from "../../../filter/chips";
import type { Flow, Group } from "../flow";

export type Side = "source" | "destination";

/** Fields and what is in them: what a click on a value asks for. */
export type Values = [field: string, value: Wanted][];

/** `shop/web-5d8f-x2x9k`; else the first name that is known for the address, the node, or the address. */
export function podName(flow: Flow, side: Side): string {
  const [namespace, pod] = [flow[`${side}_namespace`], flow[`${side}_pod`]];
  if (pod !== null) return `${namespace ?? ""}/${pod}`;
  const [kind, node, address] = [flow[`${side}_kind`], flow[`${side}_node`], flow[`${side}_ip`]];
  if (kind === "node" && node !== null) return `node ${node}`;
  const name = flow[`${side}_names`][0] ?? (side === "destination" ? flow.destination_service : null);
  return name === null || name === undefined ? `${kind} ${address}` : `${name} (${address})`;
}

/** What only flows of this very end have. */
export function podValues(flow: Flow, side: Side): Values {
  const pod = flow[`${side}_pod`];
  if (pod === null) return [[`${side}_ip`, flow[`${side}_ip`]]];
  return [
    [`${side}_namespace`, flow[`${side}_namespace`]],
    [`${side}_pod`, pod],
  ];
}

/** `shop/web`; of what is no workload, its kind. */
export function workloadName(of: Group | Flow, side: Side): string {
  const [namespace, workload] = [of[`${side}_namespace`], of[`${side}_workload`]];
  if (workload !== null) return namespace === null ? workload : `${namespace}/${workload}`;
  const kind = of[`${side}_kind`] ?? "unknown";
  return namespace === null ? kind : `${namespace}/ (${kind})`;
}

/** What only flows of this workload have, or of this kind where there is none. */
export function workloadValues(of: Group | Flow, side: Side): Values {
  const [namespace, workload] = [of[`${side}_namespace`], of[`${side}_workload`]];
  const within: Values = namespace === null ? [] : [[`${side}_namespace`, namespace]];
  if (workload === null) return [...within, [`${side}_kind`, of[`${side}_kind`]]];
  return [...within, [`${side}_workload`, workload]];
}

type Port = Pick<Flow | Group, "destination_port" | "protocol">;

/** `5432/TCP`; of protocols without ports, their name. */
export function portName({ destination_port, protocol }: Port): string {
  return destination_port === null ? (protocol ?? "") : `${destination_port}/${protocol ?? ""}`;
}

export function portValues({ destination_port, protocol }: Port): Values {
  const port: Values = destination_port === null ? [] : [["destination_port", destination_port]];
  return [...port, ["protocol", protocol]];
}
