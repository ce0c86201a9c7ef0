select source_namespace, source_workload, destination_namespace, destination_workload, destination_ip, destination_port,
       protocol, policy, reason, sum(count) as attempts, min(time) as first_seen, max(end_time) as last_seen
from flows
where verdict = 'deny' and time > now() - interval '15 minutes'
group by all
order by attempts desc
limit 100
