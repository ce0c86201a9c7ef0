// Pods by a part of their name, for completion.

import { post, type Schemas } from "../../api/client";

export interface PodName {
  cluster: string;
  /** `namespace/name`. */
  name: string;
  node: string;
  addresses: string[];
}

/** One more than is shown, so that it is known whether there are more. */
export const SHOWN = 12;

/** Those that are there now and have the text in `namespace/name`, or in an address. */
export async function podsLike(text: string, cluster: string, signal: AbortSignal): Promise<PodName[]> {
  const parameters = [text.trim()];
  let sql = `select cluster, namespace, name, node, addresses from endpoints
    where valid_to is null and phase in ('Pending', 'Running')
      and strpos(lower(namespace || '/' || name || ' ' || array_to_string(addresses, ' ')), lower($1)) > 0`;
  if (cluster !== "") {
    parameters.push(cluster);
    sql += " and cluster = $2";
  }
  sql += ` order by namespace, name limit ${SHOWN + 1}`;
  const answer = await post<Schemas["Rows"]>("/api/v1/sql", { sql, parameters }, signal);
  const rows = answer.rows as unknown as (Omit<PodName, "name"> & { namespace: string; name: string })[];
  return rows.map(({ cluster, namespace, name, node, addresses }) => ({
    cluster,
    name: `${namespace}/${name}`,
    node: node ?? "",
    addresses,
  }));
}

/** The clusters that pods are known of. */
export async function clusters(signal: AbortSignal): Promise<string[]> {
  const sql = "select distinct cluster from endpoints where valid_to is null order by cluster limit 100";
  const answer = await post<Schemas["Rows"]>("/api/v1/sql", { sql }, signal);
  return (answer.rows as unknown as { cluster: string }[]).map((row) => row.cluster);
}
