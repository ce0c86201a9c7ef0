select source_namespace, source_pod, source_ip, destination_ip, count(distinct destination_port) as ports,
       sum(count) as attempts, min(time) as first_seen, max(end_time) as last_seen
from flows
where verdict = 'deny' and time > now() - interval '1 hour'
group by all
having count(distinct destination_port) >= 5
order by ports desc
limit 50
