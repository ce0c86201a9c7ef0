select source_namespace, source_workload, destination_ip, destination_port, verdict, sum(count) as connections,
       sum(bytes) as bytes, sum(reply_bytes) as reply_bytes
from flows
where destination_kind = 'world' and source_kind = 'pod' and time > now() - interval '1 day'
group by all
order by connections desc
limit 100
