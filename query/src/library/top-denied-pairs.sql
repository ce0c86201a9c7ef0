select source_namespace, source_workload, destination_namespace, destination_workload, sum(count) as attempts
from flows
where verdict = 'deny' and time > now() - interval '1 day'
group by all
order by attempts desc
limit 50
