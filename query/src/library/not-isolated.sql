select case direction when 'egress' then source_namespace else destination_namespace end as namespace,
       case direction when 'egress' then source_workload else destination_workload end as workload,
       direction, sum(count) as connections
from flows
where verdict = 'allow' and reason = 'no_policy' and time > now() - interval '1 hour'
group by all
order by connections desc
limit 100
