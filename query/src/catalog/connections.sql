-- Both ends of each connection. NEAR is how far the begins may be apart that two ends report of one
-- connection, nanoseconds; CONDITION and BEGUN leave out rows of connections that nobody asks for.
with seen as (
  select *,
    cast(end_time as bigint) as end_ns,
    case when verdict = 'deny' or duration_ns is null then cast(time as bigint)
         else cast(end_time as bigint) - cast(duration_ns as bigint) end as begin_ns
  from flows where CONDITION
),
observed as (select * from seen where BEGUN),
-- Ports are used again: a begin that is not near the one before is another connection's.
marked as (
  select *, case when begin_ns - lag(begin_ns) over (
      partition by cluster, protocol, source_ip, source_port, destination_ip, destination_port, icmp_type, icmp_code
      order by begin_ns) <= NEAR then 0 else 1 end as begins
  from observed
),
numbered as (
  select *, sum(begins) over (
      partition by cluster, protocol, source_ip, source_port, destination_ip, destination_port, icmp_type, icmp_code
      order by begin_ns) as number
  from marked
),
joined as (
  select cluster, protocol, source_ip, source_port, destination_ip, destination_port, icmp_type, icmp_code, number,
    min(begin_ns) as begin_ns, max(end_ns) as end_ns,
    max(end_ns) filter (where direction = 'ingress' and verdict = 'deny') as deny_end_ns,
    last_value(verdict order by end_ns) filter (where direction = 'egress') as egress_verdict,
    last_value(reason order by end_ns) filter (where direction = 'egress') as egress_reason,
    last_value(policy order by end_ns) filter (where direction = 'egress') as egress_policy,
    last_value(node order by end_ns) filter (where direction = 'egress') as egress_node,
    last_value(verdict order by end_ns) filter (where direction = 'ingress') as ingress_verdict,
    last_value(reason order by end_ns) filter (where direction = 'ingress') as ingress_reason,
    last_value(policy order by end_ns) filter (where direction = 'ingress') as ingress_policy,
    last_value(node order by end_ns) filter (where direction = 'ingress') as ingress_node,
    max(source_kind) as source_kind,
    max(source_namespace) as source_namespace,
    max(source_pod) as source_pod,
    max(source_workload_kind) as source_workload_kind,
    max(source_workload) as source_workload,
    max(destination_kind) as destination_kind,
    max(destination_namespace) as destination_namespace,
    max(destination_pod) as destination_pod,
    max(destination_workload_kind) as destination_workload_kind,
    max(destination_workload) as destination_workload,
    max(destination_node) as destination_node,
    max(destination_service) as destination_service,
    coalesce(sum(count) filter (where direction = 'egress'), sum(count)) as count,
    coalesce(sum(packets) filter (where direction = 'egress'), sum(packets)) as packets,
    coalesce(sum(bytes) filter (where direction = 'egress'), sum(bytes)) as bytes,
    coalesce(sum(reply_packets) filter (where direction = 'egress'), sum(reply_packets)) as reply_packets,
    coalesce(sum(reply_bytes) filter (where direction = 'egress'), sum(reply_bytes)) as reply_bytes,
    coalesce(min(rtt_ns) filter (where direction = 'egress'), min(rtt_ns)) as rtt_ns,
    last_value(state order by end_ns) as state
  from numbered
  group by cluster, protocol, source_ip, source_port, destination_ip, destination_port, icmp_type, icmp_code, number
),
-- Where a Service was dialled, the source saw its address and the destination its own: what they have
-- in common is the source. The destination's half comes right behind the source's.
halves as (
  select *,
    case when source_port is null then 'whole'
         when ingress_verdict is null and destination_kind = 'service' then 'source'
         when egress_verdict is null then 'destination'
         else 'whole' end as half
  from joined
),
ordered as (
  select *,
    case when half = 'whole' then concat_ws(' ', cast(destination_ip as varchar),
      cast(destination_port as varchar), cast(icmp_type as varchar), cast(icmp_code as varchar), cast(number as varchar)) else '' end as other,
    begin_ns + case when half = 'destination' then NEAR / 2 else 0 end as order_ns
  from halves
),
paired as (
  select *, case when half = 'destination'
      and lag(half) over (partition by cluster, protocol, source_ip, source_port, other order by order_ns, half) = 'source'
      and order_ns - lag(order_ns) over (partition by cluster, protocol, source_ip, source_port, other order by order_ns, half) <= NEAR
      then 0 else 1 end as begins
  from ordered
),
counted as (
  select *, sum(begins) over (
      partition by cluster, protocol, source_ip, source_port, other order by order_ns, half
      rows between unbounded preceding and current row) as pair
  from paired
),
whole as (
  select cluster, protocol, source_ip, source_port,
    coalesce(max(destination_ip) filter (where half = 'destination'), max(destination_ip)) as destination_ip,
    coalesce(max(destination_port) filter (where half = 'destination'), max(destination_port)) as destination_port,
    max(icmp_type) as icmp_type, max(icmp_code) as icmp_code,
    min(begin_ns) as begin_ns, max(end_ns) as end_ns, max(deny_end_ns) as deny_end_ns,
    max(egress_verdict) as egress_verdict, max(egress_reason) as egress_reason,
    max(egress_policy) as egress_policy, max(egress_node) as egress_node,
    max(ingress_verdict) as ingress_verdict, max(ingress_reason) as ingress_reason,
    max(ingress_policy) as ingress_policy, max(ingress_node) as ingress_node,
    max(source_kind) as source_kind, max(source_namespace) as source_namespace, max(source_pod) as source_pod,
    max(source_workload_kind) as source_workload_kind, max(source_workload) as source_workload,
    coalesce(max(destination_kind) filter (where half = 'destination'), max(destination_kind)) as destination_kind,
    coalesce(max(destination_namespace) filter (where half = 'destination'), max(destination_namespace)) as destination_namespace,
    coalesce(max(destination_pod) filter (where half = 'destination'), max(destination_pod)) as destination_pod,
    coalesce(max(destination_workload_kind) filter (where half = 'destination'), max(destination_workload_kind)) as destination_workload_kind,
    coalesce(max(destination_workload) filter (where half = 'destination'), max(destination_workload)) as destination_workload,
    max(destination_node) as destination_node,
    max(destination_service) as destination_service,
    coalesce(max(count) filter (where half <> 'destination'), max(count)) as count,
    coalesce(max(packets) filter (where half <> 'destination'), max(packets)) as packets,
    coalesce(max(bytes) filter (where half <> 'destination'), max(bytes)) as bytes,
    coalesce(max(reply_packets) filter (where half <> 'destination'), max(reply_packets)) as reply_packets,
    coalesce(max(reply_bytes) filter (where half <> 'destination'), max(reply_bytes)) as reply_bytes,
    coalesce(max(rtt_ns) filter (where half <> 'destination'), max(rtt_ns)) as rtt_ns,
    last_value(state order by end_ns) as state
  from counted
  group by cluster, protocol, source_ip, source_port, other, pair
),
-- Denies of one kind are one row with the port of the first attempt: further attempts have no row of
-- their own at the destination.
known as (
  select *, coalesce(max(deny_end_ns) over (
      partition by cluster, protocol, source_ip, destination_ip, destination_port
      order by begin_ns range between unbounded preceding and NEAR following) >= begin_ns - NEAR, false) as denied_near
  from whole
),
reporting as (select distinct cluster as at_cluster, node as at_node from seen)
select known.*,
  case when egress_verdict = 'deny' then 'denied_at_source'
       when ingress_verdict = 'deny' or (ingress_verdict is null and denied_near) then 'denied_at_destination'
       when ingress_verdict is null and destination_kind = 'pod' and at_node is not null then 'never_arrived'
       else 'allowed' end as outcome
from known left join reporting on cluster = at_cluster and destination_node = at_node
