select source_namespace, source_pod, destination_namespace, destination_pod, destination_port, count(*) as connections
from connections
where outcome = 'never_arrived' and time > now() - interval '10 minutes'
group by all
order by connections desc
limit 100
